//go:build sdk

package main

import serve "github.com/serve-wasm/serve/guest-sdk/go"

var listenAndServe = serve.ListenAndServe
