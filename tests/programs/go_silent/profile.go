// SPDX-License-Identifier: GPL-2.0-or-later

//go:build !bare
// +build !bare

package main

import (
	"io"
	"runtime/pprof"
)

// The linker leaves profiles out of a program that reads none.
func init() {
	profile = func() { pprof.WriteHeapProfile(io.Discard) }
}
