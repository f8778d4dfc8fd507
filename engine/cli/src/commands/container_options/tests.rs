use clap::Parser;
use engine_api::ContainerCreateRequest;

use super::*;

#[derive(Parser, Debug)]
#[command(disable_help_flag = true)]
struct Line {
    #[command(flatten)]
    options: ContainerOptions,
    #[arg(trailing_var_arg = true, required = true)]
    words: Vec<String>,
}

fn line(text: &str) -> Line {
    Line::try_parse_from(std::iter::once("run").chain(text.split_whitespace())).unwrap()
}

fn request(text: &str) -> Result<ContainerCreateRequest, String> {
    let line = line(text);
    line.options
        .request(&line.words[0], &line.words[1..], false)
        .map_err(|error| error.to_string())
}

#[test]
fn everything_behind_the_image_is_the_command() {
    let line = line("-it --rm busybox sh -c -d --rm=x");
    assert!(
        line.options.process.interactive && line.options.process.tty && line.options.identity.rm
    );
    assert_eq!(line.words, ["busybox", "sh", "-c", "-d", "--rm=x"]);
}

#[test]
fn unknown_flags_before_the_image_are_refused() {
    assert!(Line::try_parse_from(["run", "--nope", "busybox"]).is_err());
}

#[test]
fn the_plain_run_asks_for_nothing_special() {
    let request = request("busybox true").unwrap();
    let config = request.config;
    assert_eq!(
        (config.image.as_str(), config.cmd),
        ("busybox", Some(vec!["true".to_owned()]))
    );
    assert!(config.attach_stdout && config.attach_stderr && !config.attach_stdin);
    let host = request.host_config.unwrap();
    assert_eq!(
        (
            host.network_mode.as_str(),
            host.restart_policy.name.as_str()
        ),
        ("default", "no")
    );
    assert_eq!(request.networking_config, None);
}

#[test]
fn the_full_run_carries_every_option() {
    let request = request(
        "-i -e A=1 -p 127.0.0.1:8080:80 -p 81/udp --expose 90 -v /a:/b:ro -v /c -v name:/d \
         --mount type=tmpfs,target=/t --tmpfs /run:size=1m -m 64m --memory-swap -1 --cpus 1.5 \
         --pids-limit 10 --ulimit nofile=10:20 --cap-add net_admin --cap-drop ALL --restart on-failure:2 \
         --network name=web,alias=x --network-alias y --ip 10.0.0.9 -l a=b --add-host db:1.2.3.4 \
         --entrypoint /bin/sh -u 1:2 -w /w -h host --stop-signal INT --stop-timeout -1 \
         --health-cmd true --health-interval 5s --sysctl net.x=1 --init --read-only img -x",
    )
    .unwrap();
    let config = request.config;
    assert_eq!(config.env.unwrap(), ["A=1"]);
    assert_eq!(
        config.exposed_ports.keys().collect::<Vec<_>>(),
        ["80/tcp", "81/udp", "90/tcp"]
    );
    assert_eq!(config.volumes.unwrap().keys().collect::<Vec<_>>(), ["/c"]);
    assert_eq!(config.entrypoint.unwrap(), ["/bin/sh"]);
    assert_eq!(config.cmd.unwrap(), ["-x"]);
    assert_eq!(
        (
            config.user.as_str(),
            config.working_dir.as_str(),
            config.hostname.as_str()
        ),
        ("1:2", "/w", "host")
    );
    assert_eq!(
        (config.stop_signal.as_str(), config.stop_timeout),
        ("INT", Some(-1))
    );
    assert!(config.open_stdin && config.stdin_once && config.attach_stdin);
    let health = config.healthcheck.unwrap();
    assert_eq!(
        (health.test.join(" ").as_str(), health.interval),
        ("CMD-SHELL true", 5_000_000_000)
    );
    let host = request.host_config.unwrap();
    assert_eq!(host.binds.unwrap(), ["/a:/b:ro", "name:/d"]);
    let bound = host.port_bindings["80/tcp"].as_ref().unwrap();
    assert_eq!(
        (bound[0].host_ip.as_str(), bound[0].host_port.as_str()),
        ("127.0.0.1", "8080")
    );
    assert_eq!(
        (
            host.memory,
            host.memory_swap,
            host.nano_cpus,
            host.pids_limit
        ),
        (64 << 20, -1, 1_500_000_000, Some(10))
    );
    assert_eq!(
        (host.cap_add.unwrap(), host.cap_drop.unwrap()),
        (vec!["NET_ADMIN".to_owned()], vec!["ALL".to_owned()])
    );
    assert_eq!(host.tmpfs["/run"], "size=1m");
    assert_eq!(host.mounts[0].kind, "tmpfs");
    assert_eq!(
        (host.init, host.readonly_rootfs, host.network_mode.as_str()),
        (Some(true), true, "web")
    );
    let endpoints = request.networking_config.unwrap().endpoints_config;
    let web = endpoints["web"].as_ref().unwrap();
    assert_eq!(web.aliases.as_ref().unwrap(), &["x", "y"]);
    assert_eq!(web.ipam_config.as_ref().unwrap().ipv4_address, "10.0.0.9");
}

#[test]
fn options_that_exclude_each_other_are_named() {
    for (text, part) in [
        ("--rm --restart always x", "--restart and --rm"),
        ("--cpus 1 --cpu-quota 5 x", "--cpus and --cpu-quota"),
        ("--no-healthcheck --health-cmd x y", "--no-healthcheck"),
        ("--network a --network a x", "multiple times"),
        ("--memory-swappiness 101 x", "0-100"),
        ("--platform mars x", "invalid platform"),
        ("--security-opt seccomp=/nonexistent x", "seccomp profile"),
        ("--security-opt nope x", "invalid --security-opt"),
    ] {
        let error = request(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn what_is_attached() {
    let of = |text: &str, detach| {
        let attached = line(text).options.attached(detach);
        (attached.stdin, attached.stdout, attached.stderr)
    };
    assert_eq!(of("x", false), (false, true, true));
    assert_eq!(of("-i x", false), (true, true, true));
    assert_eq!(of("-i x", true), (false, false, false));
    assert_eq!(of("-a stderr x", false), (false, false, true));
    assert_eq!(of("-i -a STDIN x", false), (true, false, false));
}
