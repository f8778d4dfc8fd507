# The two commands. Both need root on Debian 12 with Rust and make; they install the rest.

.PHONY: demo test build lint clean

demo:
	@demo/run.sh

test:
	@tests/run.sh

build:
	cargo build --release

lint:
	@tests/lint.sh

clean:
	cargo clean
