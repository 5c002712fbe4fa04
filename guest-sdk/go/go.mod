module github.com/serve-wasm/serve/guest-sdk/go

go 1.24
