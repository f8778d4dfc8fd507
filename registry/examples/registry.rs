//! A registry alone, for trying it by hand: `registry <data dir> <address> [password]`.

use registry::{Registry, RegistryConfig};

#[tokio::main]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let mut next = || {
        arguments
            .next()
            .expect("usage: registry <data dir> <address> [password]")
    };
    let (data_dir, address) = (next(), next());
    let mut config = RegistryConfig::new(data_dir);
    config.admin_password = arguments.next();
    let registry = Registry::open(config).await.expect("open the registry");
    if let Some(password) = registry.generated_admin_password() {
        println!("admin password: {password}");
    }
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .expect("listen");
    println!("listening");
    let stop = async {
        tokio::signal::ctrl_c().await.expect("wait for SIGINT");
    };
    axum::serve(listener, registry.router())
        .with_graceful_shutdown(stop)
        .await
        .expect("serve");
    registry.shutdown().await;
}
