//! Times the operations of a bridge. Run it in a network namespace of its own:
//! `unshare --net target/release/examples/bridge-timing [rounds]`

use std::{
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use runtime::{
    bridge::{Bridge, BridgeConfig, NetError},
    ports::{PortMapping, Protocol},
};

fn main() -> Result<(), NetError> {
    let rounds = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    let mut cfg = BridgeConfig::new("timing0", "172.30.0.0/16".parse()?);
    cfg.pool = 8;
    let start = Instant::now();
    let bridge = Bridge::setup(cfg)?;
    println!("{:10} {:>8} µs", "setup", start.elapsed().as_micros());

    let mut times: [(&str, Vec<Duration>); 4] = [
        ("attach", Vec::new()),
        ("publish", Vec::new()),
        ("unpublish", Vec::new()),
        ("detach", Vec::new()),
    ];
    let mapping = PortMapping {
        host_ip: Ipv4Addr::UNSPECIFIED.into(),
        host_port: 8080,
        container_port: 80,
        protocol: Protocol::Tcp,
    };
    for _ in 0..rounds {
        while bridge.ready() < bridge.config().pool {
            thread::sleep(Duration::from_millis(1));
        }
        let mut clock = Instant::now();
        let mut lap = |index: usize| {
            times[index].1.push(clock.elapsed());
            clock = Instant::now();
        };
        let attachment = bridge.attach(None)?;
        lap(0);
        let ports = bridge.publish(attachment.address, &[mapping])?;
        lap(1);
        bridge.unpublish(attachment.address, &ports)?;
        lap(2);
        bridge.detach(attachment.address)?;
        lap(3);
    }
    for (name, mut laps) in times {
        laps.sort();
        let at = |share: usize| laps[(laps.len() - 1) * share / 100].as_micros();
        println!("{name:10} p50 {:>5} µs   p99 {:>5} µs", at(50), at(99));
    }

    let burst = Instant::now();
    let attachments = thread::scope(|scope| {
        let threads: Vec<_> = (0..100)
            .map(|_| scope.spawn(|| bridge.attach(None)))
            .collect();
        let join = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().expect("no panic");
        threads.into_iter().map(join).collect::<Result<Vec<_>, _>>()
    })?;
    println!("100 at once {:>6} ms", burst.elapsed().as_millis());
    let end = Instant::now();
    for attachment in attachments {
        bridge.detach(attachment.address)?;
    }
    bridge.settle(Duration::from_secs(10))?;
    println!("settle      {:>6} ms", end.elapsed().as_millis());
    let end = Instant::now();
    bridge.teardown()?;
    println!("teardown    {:>6} ms", end.elapsed().as_millis());
    Ok(())
}
