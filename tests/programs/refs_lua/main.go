// SPDX-License-Identifier: GPL-2.0-or-later

// Lua inside a Go program: says what Lua counts, and waits.
package main

/*
#include <stdlib.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

static lua_State *start(void)
{
	lua_State *l = luaL_newstate();

	luaL_openlibs(l);
	if (luaL_dostring(l, "sessions = {} for i = 1, 1000 do sessions[i] = string.rep('s', 100) .. i end"))
		abort();
	return l;
}

static long count(lua_State *l)
{
	return 1024l * lua_gc(l, LUA_GCCOUNT, 0) + lua_gc(l, LUA_GCCOUNTB, 0);
}
*/
import "C"

import (
	"fmt"
	"os"
)

var held = map[int][]byte{}
var state *C.lua_State

func main() {
	for i := 0; i < 1000; i++ {
		held[i] = make([]byte, 1000)
	}
	state = C.start()
	fmt.Println(C.count(state))
	os.Stdin.Read(make([]byte, 1))
	fmt.Println(len(held))
}
