# Two commands set everything up. `make demo` shows the main job; `make test` runs everything that CI runs.
.PHONY: demo test bench clean

demo:
	@scripts/setup.sh demo
	cargo build --release --locked --package penstock
	target/release/penstock demo $(DEMO_ARGS)

test:
	@scripts/setup.sh test
	@scripts/test.sh

clean:
	cargo clean
