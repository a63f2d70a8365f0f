/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <string.h>

#include "runtime/cpython/cpython.h"
#include "runtime/glibc/glibc.h"
#include "runtime/go/go.h"
#include "runtime/jemalloc/jemalloc.h"
#include "runtime/jvm/jvm.h"
#include "runtime/lua/lua.h"
#include "runtime/mimalloc/mimalloc.h"
#include "runtime/musl/musl.h"
#include "runtime/other/other.h"
#include "runtime/postgres/postgres.h"
#include "runtime/runtime.h"
#include "runtime/tcmalloc/tcmalloc.h"
#include "runtime/usdt/usdt.h"
#include "runtime/v8/v8.h"

/* The only list of runtimes. */
const struct runtime_ops *const registry_runtimes[] = {
	&postgres_runtime, &jemalloc_runtime,
	&tcmalloc_runtime, &mimalloc_runtime,
	&glibc_runtime,    &musl_runtime,
	&other_runtime,    &usdt_runtime,
	&go_runtime,       &lua_runtime,
	&cpython_runtime,  &jvm_runtime,
	&v8_runtime,       NULL,
};

const struct runtime_ops *registry_find(const char *name)
{
	if (!strcmp(name, "glibc"))
		name = glibc_runtime.name;
	for (size_t i = 0; registry_runtimes[i]; i++)
		if (!strcmp(registry_runtimes[i]->name, name))
			return registry_runtimes[i];
	return NULL;
}
