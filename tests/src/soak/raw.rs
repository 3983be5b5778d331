//! Requests that no HTTP client sends.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::process::Process;

/// Sends bytes, and checks that the first line of the reply contains `part`, or that the server closed the connection
/// before it read everything.
pub(super) async fn expect(process: &Process, bytes: &[u8], part: &str) -> Result<(), String> {
    let mut stream = connect(process).await?;
    // The server may reply and close before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut reply = [0; 512];
    match stream.read(&mut reply).await {
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(()),
        Err(error) => Err(error.to_string()),
        Ok(read) => {
            let text = String::from_utf8_lossy(&reply[..read]);
            let line = text.lines().next().unwrap_or_default();
            if line.contains(part) { Ok(()) } else { Err(format!("expected{part}, found {line:?}")) }
        }
    }
}

/// Sends bytes, and closes the connection without waiting for a reply.
pub(super) async fn cut(process: &Process, bytes: &[u8]) -> Result<(), String> {
    let mut stream = connect(process).await?;
    let _ = stream.write_all(bytes).await;
    Ok(())
}

async fn connect(process: &Process) -> Result<TcpStream, String> {
    TcpStream::connect(process.address()).await.map_err(|error| format!("cannot connect: {error}"))
}
