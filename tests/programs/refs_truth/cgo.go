// SPDX-License-Identifier: GPL-2.0-or-later

//go:build cgo
// +build cgo

package main

import "runtime/cgo"

//go:noinline
func handles() {
	cgo.NewHandle(hold(72))
}
