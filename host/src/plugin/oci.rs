//! Stub.
pub struct OciReference(String);
pub struct Pulled { pub bytes: Vec<u8> }
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct OciError(String);
impl std::str::FromStr for OciReference { type Err = OciError; fn from_str(s:&str)->Result<Self,OciError>{Ok(Self(s.into()))} }
impl OciReference { pub fn plugin_name(&self)->&str{ self.0.rsplit('/').next().unwrap().split([':','@']).next().unwrap() } }
pub async fn pull(_: &OciReference, _: u64) -> Result<Pulled, OciError> { Err(OciError("not yet".into())) }
