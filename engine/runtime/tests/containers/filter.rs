//! B15: what the default system call filter refuses, asked by a program.

use crate::harness::{Host, compile};

async fn probe(width: &str) -> String {
    let host = Host::start().await;
    let flags = [width, "-static", "-nostdlib", "-fno-stack-protector"];
    compile("probe.c", &host.image().join("bin/probe"), &flags);
    let output = host.run(&host.spec(&["/bin/probe"])).await;
    assert_eq!(output.status.code, 0, "{output:?}");
    output.stdout
}

/// AF_UNIX works, AF_ALG and AF_VSOCK do not; clone3 does not exist, keyctl
/// and new namespaces are refused; no way around through x32 numbers.
#[tokio::test]
#[cfg(target_arch = "x86_64")]
async fn a_64_bit_program_is_filtered() {
    assert_eq!(probe("-m64").await, "00 01 01 38 01 01 38 ");
}

/// And 32-bit programs still run. The last call writes nothing, successfully.
#[tokio::test]
#[cfg(target_arch = "x86_64")]
async fn a_32_bit_program_is_filtered_by_its_own_numbers() {
    assert_eq!(probe("-m32").await, "00 01 01 38 01 01 00 ");
}
