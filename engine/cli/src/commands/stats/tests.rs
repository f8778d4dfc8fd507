use super::*;

#[test]
fn a_sample_becomes_a_row() {
    let sample: Sample = serde_json::from_str(
        r#"{"name":"/web","id":"0123456789abcdef","pids_stats":{"current":3},
        "cpu_stats":{"cpu_usage":{"total_usage":2000000},"system_cpu_usage":40000000,"online_cpus":2},
        "precpu_stats":{"cpu_usage":{"total_usage":1000000},"system_cpu_usage":20000000},
        "memory_stats":{"usage":5242880,"limit":104857600,"stats":{"inactive_file":1048576}},
        "networks":{"eth0":{"rx_bytes":1500,"tx_bytes":20},"eth1":{"rx_bytes":1}},
        "blkio_stats":{"io_service_bytes_recursive":[{"major":8,"minor":0,"op":"Read","value":4096},{"major":8,"minor":0,"op":"write","value":1}]}}"#,
    )
    .unwrap();
    let text = STATS.render(None, vec![row("web", &sample, true)]).unwrap();
    insta::assert_snapshot!(text, @r"
    CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O    PIDS
    0123456789ab   web       10.00%    4MiB / 100MiB       4.00%     1.5kB / 20B   4.1kB / 1B   3
    ");
}

#[test]
fn a_first_sample_has_no_cpu_use() {
    let mut sample = Sample::default();
    sample.cpu_stats.cpu_usage.total_usage = 5;
    sample.cpu_stats.system_cpu_usage = 10;
    assert_eq!(cpu_percent(&sample), 0.0);
}
