// SPDX-License-Identifier: GPL-2.0-or-later

//go:build go1.21 && !go1.24
// +build go1.21,!go1.24

package main

func newerVariables() {
	generics()
	since21()
}

func newerGoroutines() {}

func newerOthers() {}

func useNewer() {
	useGenerics()
	use21()
}
