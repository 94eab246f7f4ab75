//! Compiles the Pub/Sub API's messages, without `protoc`.

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    #[cfg(feature = "pubsub")]
    {
        println!("cargo::rerun-if-changed=proto/pubsub_api.proto");
        let files = protox::compile(["proto/pubsub_api.proto"], ["proto"])?;
        tonic_prost_build::configure().build_transport(false).bytes(".").compile_fds(files)?;
    }
    Ok(())
}
