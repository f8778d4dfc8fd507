//! The binary that tests give to `Launcher::start`: nothing but the launcher.

fn main() {
    runtime::launcher_main()
}
