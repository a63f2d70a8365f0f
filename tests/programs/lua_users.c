/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Lua as programs embed it: states with allocators of their own, in threads, stopped or running in
 * the midst of their work. Says "count BYTES" of each state and "root NAME BYTES" as Lua counts
 * them, then "ready". Built by the test, with 5.3 or 5.4.
 *
 *	lua_users pools       three states: malloc, a pool without headers, a mapping for each block
 *	lua_users busy        the same in three threads, which work from the first line of stdin on
 *	lua_users holders     luaL_ref, upvalues of C functions, 5,000 coroutines
 *	lua_users finalizer   stopped in the first of 100 finalizers
 *	lua_users free N      stopped in the N-th free of a collection
 */

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { POOL_BYTES = 256 << 20, CLASSES = 32, STATES = 3 };

/* ---- allocators ---- */

static void wait_here(void)
{
	printf("ready\n");
	fflush(stdout);
	for (;;)
		pause();
}

/* Sizes are given back by Lua, so a block needs no header: lists by powers of two. */
struct pool {
	char *next, *end;
	void *free[CLASSES];
};

static int class_of(size_t bytes)
{
	int c = 4;

	while ((1ul << c) < bytes)
		c++;
	return c;
}

static void *pool_take(struct pool *p, size_t bytes)
{
	const int c = class_of(bytes);
	void *block = p->free[c];

	if (block) {
		memcpy(&p->free[c], block, sizeof(void *));
		return block;
	}
	if ((size_t)(p->end - p->next) < 1ul << c)
		return NULL;
	block = p->next;
	p->next += 1ul << c;
	return block;
}

static void pool_give(struct pool *p, void *block, size_t bytes)
{
	const int c = class_of(bytes);

	memcpy(block, &p->free[c], sizeof(void *));
	p->free[c] = block;
}

static void *from_pool(void *ud, void *old, size_t old_bytes, size_t bytes)
{
	struct pool *p = ud;
	void *block = bytes ? pool_take(p, bytes) : NULL;

	if (bytes && !block)
		return NULL;
	if (old && block)
		memcpy(block, old, old_bytes < bytes ? old_bytes : bytes);
	if (old && old_bytes)
		pool_give(p, old, old_bytes);
	return block;
}

/* Large blocks each in pages of their own. */
static void *from_pages(void *ud, void *old, size_t old_bytes, size_t bytes)
{
	enum { LARGE = 65536 };
	void *block;

	(void)ud;
	if (!old)
		old_bytes = 0; /* a type */
	if (old_bytes < LARGE && bytes < LARGE) {
		if (bytes)
			return realloc(old, bytes);
		free(old);
		return NULL;
	}
	block = !bytes          ? NULL
	        : bytes < LARGE ? malloc(bytes)
	                        : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
	                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (block == MAP_FAILED)
		return NULL;
	if (block && old)
		memcpy(block, old, old_bytes < bytes ? old_bytes : bytes);
	if (old_bytes >= LARGE)
		munmap(old, old_bytes);
	else
		free(old);
	return block;
}

static long stop_at = -1; /* frees until then */

static void *that_stops(void *ud, void *old, size_t old_bytes, size_t bytes)
{
	(void)ud;
	(void)old_bytes;
	if (bytes)
		return realloc(old, bytes);
	if (old && stop_at >= 0 && stop_at-- == 0)
		wait_here();
	free(old);
	return NULL;
}

static lua_State *new_state(int kind)
{
	struct pool *p;
	lua_State *l;

	if (kind == 0)
		l = luaL_newstate();
	else if (kind == 2)
		l = lua_newstate(from_pages, NULL);
	else if (kind == 3)
		l = lua_newstate(that_stops, NULL);
	else {
		p = calloc(1, sizeof(*p));
		p->next = mmap(NULL, POOL_BYTES, PROT_READ | PROT_WRITE,
		               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		p->end = p->next + POOL_BYTES;
		l = lua_newstate(from_pool, p);
	}
	if (!l)
		exit(3);
	luaL_openlibs(l);
	return l;
}

/* ---- what they hold ---- */

static long count(lua_State *l)
{
	return 1024l * lua_gc(l, LUA_GCCOUNT, 0) + lua_gc(l, LUA_GCCOUNTB, 0);
}

static void run(lua_State *l, const char *code)
{
	if (luaL_dostring(l, code)) {
		fprintf(stderr, "%s\n", lua_tostring(l, -1));
		exit(1);
	}
}

/* Twelve times: the table of strings becomes smaller by half each time. */
static void full(lua_State *l)
{
	for (int i = 0; i < 12; i++)
		lua_gc(l, LUA_GCCOLLECT, 0);
}

/* What @make pushes, or NULL, @code builds, costs, under that name. */
static void measure(lua_State *l, const char *name, const char *code, void (*make)(lua_State *l))
{
	long before;

	full(l);
	before = count(l);
	if (code)
		run(l, code);
	if (make)
		make(l);
	full(l);
	printf("root %s %ld\n", name, count(l) - before);
}

static const char keep[] = "kept = {} for i = 1, 20000 do kept[i] = { 'kept number ' .. i .. "
			   "string.rep('k', 50) } end";
static const char work[] =
	"local lists = {} "
	"while true do "
	"  for i = 1, 100 do "
	"    local t = { i .. 'x' .. math.random(1 << 30), n = i, next = lists[i] and lists[i][1] "
	"} "
	"    for k = 1, 20 do t[#t + 1] = { k } end "
	"    lists[i] = t "
	"    t.co = coroutine.wrap(function(a) local b = a .. 'y' coroutine.yield(b) end) "
	"t.co(t[1]) "
	"    setmetatable(t, { __gc = i % 10 == 0 and function() end or nil, __mode = i % 2 == 0 "
	"and 'k' or nil }) "
	"  end "
	"end";

static void *work_on(void *state)
{
	run(state, work);
	return NULL;
}

static void states(int busy)
{
	lua_State *l[STATES];
	pthread_t thread;
	char line[16];

	for (int i = 0; i < STATES; i++) {
		l[i] = new_state(i);
		/* globals that come later must not make _G grow */
		run(l[i], "kept = 0 other = 0");
		measure(l[i], "_G.kept", keep, NULL);
	}
	for (int i = 0; i < STATES; i++)
		printf("count %ld\n", count(l[i]));
	printf("ready\n");
	fflush(stdout);
	if (!busy)
		pause();
	if (!fgets(line, sizeof(line), stdin))
		exit(0);
	for (int i = 0; i < STATES; i++)
		pthread_create(&thread, NULL, work_on, l[i]);
	printf("ready\n");
	fflush(stdout);
	pause();
}

/* ---- holders ---- */

static int reference = 0;

static void refer(lua_State *l)
{
	run(l, "local t = {} for i = 1, 5000 do t[i] = 'by reference ' .. i .. string.rep('r', 40) "
	       "end return t");
	reference = luaL_ref(l, LUA_REGISTRYINDEX);
}

static int by_upvalue(lua_State *l)
{
	lua_pushvalue(l, lua_upvalueindex(2));
	return 1;
}

static void push_function(lua_State *l)
{
	lua_pushnil(l);
	run(l, "local t = {} for i = 1, 5000 do t[i] = 'by upvalue ' .. i .. string.rep('u', 40) "
	       "end return t");
	lua_pushcclosure(l, by_upvalue, 2);
	lua_setglobal(l, "peek");
}

static void holders(void)
{
	lua_State *l = new_state(0);

	run(l, "peek = 0 workers = 0 proxy = 0");
	lua_rawgeti(l, LUA_REGISTRYINDEX, 1);
	luaL_unref(l, LUA_REGISTRYINDEX, luaL_ref(l, LUA_REGISTRYINDEX));
	measure(l, "reference", NULL, refer);
	measure(l, "_G.peek", NULL, push_function);
	measure(l, "_G.workers",
	        "workers = {} for i = 1, 5000 do "
	        "  workers[i] = coroutine.create(function(a) local text = a .. string.rep('w', "
	        "200) coroutine.yield() return text end) "
	        "  coroutine.resume(workers[i], i) end",
	        NULL);
	printf("reference %d\n", reference);
	printf("count %ld\n", count(l));
	wait_here();
}

/* ---- stopped in the midst ---- */

static int finalize(lua_State *l)
{
	(void)l;
	wait_here();
	return 0;
}

static void finalizer(void)
{
	lua_State *l = new_state(0);

	run(l, keep);
	lua_pushcfunction(l, finalize);
	lua_setglobal(l, "finalize");
	run(l, "collectgarbage('stop') local mt = { __gc = finalize } "
	       "for i = 1, 100 do setmetatable({ string.rep('f', 10000) .. i }, mt) end");
	run(l, "collectgarbage() collectgarbage()");
}

static void in_free(long n)
{
	lua_State *l = new_state(3);

	run(l, "kept = 0");
	measure(l, "_G.kept", keep, NULL);
	run(l, "collectgarbage('stop') for i = 1, 20000 do local t = { i .. 'garbage' } end");
	printf("count %ld\n", count(l));
	stop_at = n;
	lua_gc(l, LUA_GCCOLLECT, 0);
	exit(4);
}

int main(int argc, char **argv)
{
	const char *mode = argc > 1 ? argv[1] : "";

	if (!strcmp(mode, "pools") || !strcmp(mode, "busy"))
		states(!strcmp(mode, "busy"));
	if (!strcmp(mode, "holders"))
		holders();
	if (!strcmp(mode, "finalizer"))
		finalizer();
	if (!strcmp(mode, "free") && argc > 2)
		in_free(atol(argv[2]));
	return 2;
}
