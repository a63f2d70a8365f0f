/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Lua inside a program: runs SCRIPT in N states, says what each counts ("count BYTES", to the
 * byte: nothing is allocated in Lua for saying it), and waits. Built by the test, with 5.3 or 5.4.
 *
 *	lua_refs N SCRIPT [OPTION...]
 */

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* newbox(VALUE): userdata of 500 bytes with VALUE as its user value */
static int newbox(lua_State *l)
{
#if LUA_VERSION_NUM >= 504
	lua_newuserdatauv(l, 500, 2);
	lua_pushvalue(l, 1);
	lua_setiuservalue(l, -2, 2);
#else
	lua_newuserdata(l, 500);
	lua_pushvalue(l, 1);
	lua_setuservalue(l, -2);
#endif
	luaL_setmetatable(l, "refs.box");
	return 1;
}

static lua_State *open_state(int argc, char **argv, int quiet)
{
	lua_State *l = luaL_newstate();
	int n = argc - 3;

	luaL_openlibs(l);
	luaL_newmetatable(l, "refs.box");
	lua_pop(l, 1);
	/* with an upvalue, or it would be no object */
	lua_pushinteger(l, 1);
	lua_pushcclosure(l, newbox, 1);
	lua_setglobal(l, "newbox");
	if (luaL_loadfile(l, argv[2])) {
		fprintf(stderr, "%s\n", lua_tostring(l, -1));
		exit(1);
	}
	for (int i = 3; i < argc; i++)
		lua_pushstring(l, argv[i]);
	if (quiet) {
		lua_pushstring(l, "quiet");
		n++;
	}
	if (lua_pcall(l, n, 0, 0)) {
		fprintf(stderr, "%s\n", lua_tostring(l, -1));
		exit(1);
	}
	return l;
}

int main(int argc, char **argv)
{
	enum { MOST = 8 };
	lua_State *states[MOST];
	int n = argc > 2 ? atoi(argv[1]) : 0;

	if (n < 1 || n > MOST)
		return 2;
	for (int i = 0; i < n; i++)
		states[i] = open_state(argc, argv, i > 0);
	for (int i = 0; i < n; i++)
		printf("count %ld\n", 1024l * lua_gc(states[i], LUA_GCCOUNT, 0) +
		                              lua_gc(states[i], LUA_GCCOUNTB, 0));
	printf("ready\n");
	fflush(stdout);
	pause();
	/* so that no compiler drops them */
	return states[0] == NULL;
}
