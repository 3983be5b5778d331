//! What the benchmark on a GPU needs besides the server: a load generator, the backend alone, and a picture. The script
//! `run.py` calls it; it needs nothing but itself.
//!
//! ```text
//! gpu load ADDRESS PATH BODY CALLERS SECONDS           requests/s and latencies of a server, as JSON
//! gpu alone LIBRARY MODEL TARGET ROWS THREADS SECONDS  rows/s of the backend at a batch size, as JSON
//! gpu picture FILE                                     a JPEG of 640x480
//! ```

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_runtime::nn::{BackendName, Model, ModelSource};
use plimsoll_runtime::tensor::{Tensor, TensorType};
use plimsoll_tests::bench::{self, quantile};
use plimsoll_tests::jpeg::Jpeg;
use serde_json::json;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// The figures of one caller: the milliseconds of its requests, and how many failed.
type Calls = (Vec<f64>, usize);

/// Sends one request and reads its answer. Returns the status.
async fn call(stream: &mut BufReader<TcpStream>, request: &[u8], line: &mut String) -> std::io::Result<u16> {
    stream.get_mut().write_all(request).await?;
    let (mut status, mut length) = (0, 0);
    loop {
        line.clear();
        if stream.read_line(line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        match text.split_once(": ") {
            None => status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0),
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse().unwrap_or(0),
            Some(_) => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(status)
}

/// One caller: sends its next request when the one before is answered.
async fn caller(address: String, request: Arc<Vec<u8>>, until: Instant) -> Calls {
    let (mut times, mut failures, mut line) = (Vec::new(), 0, String::new());
    while Instant::now() < until {
        let stream = TcpStream::connect(&address).await.expect("a server");
        stream.set_nodelay(true).expect("set");
        let mut stream = BufReader::new(stream);
        while Instant::now() < until {
            let started = Instant::now();
            match call(&mut stream, &request, &mut line).await {
                Ok(200) => times.push(started.elapsed().as_secs_f64() * 1e3),
                Ok(_) => failures += 1,
                Err(_) => {
                    failures += 1;
                    break;
                }
            }
        }
    }
    (times, failures)
}

fn load(arguments: &[String]) {
    let [address, path, body, callers, seconds] = arguments else { panic!("ADDRESS PATH BODY CALLERS SECONDS") };
    let body = std::fs::read(body).expect("a body");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: image/jpeg\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let request = Arc::new([head.into_bytes(), body].concat());
    let (callers, seconds): (usize, f64) = (callers.parse().expect("callers"), seconds.parse().expect("seconds"));
    let started = Instant::now();
    let calls: Vec<Calls> = bench::runtime().block_on(async {
        let until = started + Duration::from_secs_f64(seconds);
        let callers: Vec<_> =
            (0..callers).map(|_| tokio::spawn(caller(address.clone(), Arc::clone(&request), until))).collect();
        let mut calls = Vec::new();
        for caller in callers {
            calls.push(caller.await.expect("no panic"));
        }
        calls
    });
    let took = started.elapsed().as_secs_f64();
    let failures: usize = calls.iter().map(|(_, failures)| failures).sum();
    let mut times: Vec<f64> = calls.into_iter().flat_map(|(times, _)| times).collect();
    times.sort_by(f64::total_cmp);
    let of = |part| if times.is_empty() { 0.0 } else { quantile(&times, part) };
    let figures = json!({
        "rps": times.len() as f64 / took, "p50_ms": of(0.5), "p99_ms": of(0.99), "failures": failures,
    });
    println!("{figures}");
}

fn alone(arguments: &[String]) {
    let [library, file, target, rows, threads, seconds] = arguments else {
        panic!("LIBRARY MODEL TARGET ROWS THREADS SECONDS")
    };
    let (rows, threads): (u32, usize) = (rows.parse().expect("rows"), threads.parse().expect("threads"));
    let time = Duration::from_secs_f64(seconds.parse().expect("seconds"));
    let name: BackendName = "onnxruntime".parse().expect("known");
    let settings = json!({ "library": library, "sessions": threads });
    let backend = name.open(&settings, Path::new("")).unwrap_or_else(|error| panic!("{error}"));
    let source = ModelSource {
        name: "m".into(),
        path: file.into(),
        bytes: Arc::new(std::fs::read(file).expect("a model")),
        external: Vec::new(),
        device: target.parse().expect("a target"),
        options: Default::default(),
    };
    let model = backend.load(&source).unwrap_or_else(|error| panic!("{error}"));
    let shape = model.inputs()[0].shape.clone().expect("a shape");
    // Only the number of rows is dynamic.
    let shape: Vec<u32> = shape.into_iter().map(|size| size.unwrap_or(rows)).collect();
    let bytes = shape.iter().map(|&size| size as usize).product::<usize>() * 4;
    let input = [Tensor::new(shape, TensorType::Fp32, vec![0; bytes])];
    model.warm(&input).expect("a run");
    let (runs, took) = runs(&*model, &input, threads, time);
    let figures = json!({
        "rows_per_second": f64::from(runs * rows) / took, "run_ms": took * threads as f64 / f64::from(runs) * 1e3,
    });
    println!("{figures}");
}

/// The runs that threads make at once in a time, and the seconds that it took.
fn runs(model: &dyn Model, input: &[Tensor], threads: usize, time: Duration) -> (u32, f64) {
    let started = Instant::now();
    let count: u32 = std::thread::scope(|scope| {
        let run = || {
            let mut runs = 0;
            while started.elapsed() < time {
                model.run(input).expect("a run");
                runs += 1;
            }
            runs
        };
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    });
    (count, started.elapsed().as_secs_f64())
}

/// A picture with edges and gradients, so that its blocks have coefficients of all sizes.
fn picture(arguments: &[String]) {
    let [file] = arguments else { panic!("FILE") };
    let jpeg = Jpeg { quantiser: 12, ..Jpeg::new(640, 480, &[(2, 2), (1, 1), (1, 1)]) };
    let bytes = jpeg.encode(|component, x, y| {
        let waves = (x * 0.13 + y * 0.07 + component as f64).sin() * 60.0 + (x * y * 0.002).cos() * 40.0;
        128.0 + waves + if (x as usize / 24 + y as usize / 24).is_multiple_of(2) { 25.0 } else { -25.0 }
    });
    std::fs::write(file, bytes).expect("written");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "load" => load(rest),
        Some((command, rest)) if command == "alone" => alone(rest),
        Some((command, rest)) if command == "picture" => picture(rest),
        _ => println!("a tool of tests/benches/gpu/run.py; see its README"),
    }
}
