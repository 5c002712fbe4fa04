//go:build unmodified

package main

import _ "github.com/serve-wasm/serve/guest-sdk/go/unmodified"
