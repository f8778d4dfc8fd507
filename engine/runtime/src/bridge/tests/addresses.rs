//! Addresses: given, wanted, and none left.

use super::*;

#[test]
fn a_hundred_attach_at_once() {
    World::run(|world| {
        let bridge = world.bridge();
        let attachments: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..100)
                .map(|_| scope.spawn(|| bridge.attach(None).unwrap()))
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        let mut addresses: Vec<_> = attachments.iter().map(|a| a.address).collect();
        addresses.sort();
        addresses.dedup();
        assert_eq!(addresses.len(), 100);
        let _server = world.server(&attachments[0].netns, 80);
        for attachment in &attachments[1..] {
            let to = (attachments[0].address, 80);
            assert!(world.inside(&attachment.netns, || tcp_ask(to)).is_ok());
        }
        world::until(|| bridge.ready() == bridge.config().pool);
        for address in addresses {
            bridge.detach(address).unwrap();
        }
        drop(attachments);
        bridge.settle(Duration::from_secs(10)).unwrap();
        assert_eq!(bridge.attached(), 0);
    });
}

/// More containers than addresses, from many threads: everybody is served in
/// the end or told why not, and nothing is left.
#[test]
fn crowd_on_a_small_subnet_leaves_nothing() {
    World::run(|world| {
        let bridge = world.bridge_with(|cfg| {
            cfg.subnet = "172.30.0.0/28".parse().unwrap();
            cfg.pool = 3;
        });
        let visit = |visitor: u8, round: u8| {
            let wanted = Ipv4Addr::new(172, 30, 0, 2 + (visitor + round) % 13);
            let want = (round.is_multiple_of(4)).then_some(wanted);
            let attachment = match bridge.attach(want) {
                Ok(attachment) => attachment,
                Err(NetError::AddressInUse(_) | NetError::Pool(_)) => return,
                Err(error) => panic!("{error}"),
            };
            assert!(want.is_none_or(|address| address == attachment.address));
            let ports = [mapping(ANY, 0, 80), udp(0, 53)];
            let ports = bridge.publish(attachment.address, &ports).unwrap();
            bridge.unpublish(attachment.address, &ports[..1]).unwrap();
            bridge.detach(attachment.address).unwrap();
        };
        std::thread::scope(|scope| {
            for visitor in 0..12 {
                let visit = &visit;
                scope.spawn(move || (0..12).for_each(|round| visit(visitor, round)));
            }
        });
        assert_eq!(bridge.attached(), 0);
        bridge.settle(Duration::from_secs(10)).unwrap();
        world::until(|| bridge.ready() == bridge.config().pool);
        let ports = world::nft(&["list", "map", "ip", "carrack0", "open"]);
        assert!(!ports.contains("elements"), "{ports}");
        bridge.teardown().unwrap();
        assert_eq!(world.census().0, ["lo", "out0"]);
    });
}

#[test]
fn wanted_address_is_given_or_refused() {
    World::run(|world| {
        let bridge = world.bridge();
        let address = Ipv4Addr::new(172, 30, 4, 5);
        let a = bridge.attach(Some(address)).unwrap();
        assert_eq!((a.address, a.veth_host.as_str()), (address, "carrack0.405"));
        assert_eq!(a.mac.to_string(), "02:42:ac:1e:04:05");
        assert!(matches!(
            bridge.attach(Some(address)),
            Err(NetError::AddressInUse(_))
        ));
        // One that waits in the pool.
        world::until(|| bridge.ready() > 0);
        let pooled = Ipv4Addr::new(172, 30, 0, 2);
        assert_eq!(bridge.attach(Some(pooled)).unwrap().address, pooled);
        for bad in [[172, 30, 0, 1], [172, 30, 255, 255], [10, 0, 0, 1]] {
            assert!(matches!(
                bridge.attach(Some(bad.into())),
                Err(NetError::AddressOutside { .. })
            ));
        }
        // Again at once: it waits until the old link is gone.
        bridge.detach(address).unwrap();
        drop(a);
        assert_eq!(bridge.attach(Some(address)).unwrap().address, address);
        let _ = world;
    });
}

#[test]
fn full_subnet_is_refused_until_an_address_is_free() {
    World::run(|world| {
        let bridge = world.bridge_with(|cfg| cfg.subnet = "172.30.0.0/29".parse().unwrap());
        let mut all: Vec<_> = (0..5).map(|_| bridge.attach(None).unwrap()).collect();
        let error = bridge.attach(None).unwrap_err();
        assert_eq!(error.to_string(), "make network namespace");
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert_eq!(
            source,
            "no free address left in 172.30.0.0/29: remove containers or use a larger subnet"
        );
        let first = all.remove(0);
        let address = first.address;
        bridge.detach(address).unwrap();
        drop(first);
        assert_eq!(bridge.attach(None).unwrap().address, address);
        let _ = world;
    });
}
