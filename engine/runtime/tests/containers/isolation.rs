//! What a container sees and may do.

use crate::harness::Host;

#[tokio::test]
async fn it_has_its_own_names_and_processes() {
    let host = Host::start().await;
    let mut spec = host.shell("hostname; echo $$; pwd; id -u; echo $HOME");
    spec.hostname = "tester".into();
    let output = host.run(&spec).await;
    assert_eq!(output.stdout, "tester\n1\n/\n0\n/root\n", "{output:?}");
}
