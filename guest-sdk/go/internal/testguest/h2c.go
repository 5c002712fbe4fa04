//go:build h2c

package main

import _ "github.com/serve-wasm/serve/guest-sdk/go/unmodified/h2c"
