// SPDX-License-Identifier: GPL-2.0-or-later

//go:build go1.21
// +build go1.21

package main

import "runtime"

//go:noinline
func pin() {
	p := new(runtime.Pinner)
	p.Pin(told(newHolder(31)))
	keptPinner = p
}

var keptPinner *runtime.Pinner

func newer() {
	pin()
	newest()
}
