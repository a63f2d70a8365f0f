/* SPDX-License-Identifier: GPL-2.0-or-later */

/* A Go program's memory: the table of functions, the heap profile, its stacks. */

#include "../unit/goimage.h"
#include "runtime/go/go_allocs.h"
#include "runtime/go/go_profile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile uint64_t sink;

static void name_all(const struct go_pclntab *t, const struct go_profile *p)
{
	struct go_code_function f;
	char name[256], file[256];

	for (size_t k = 0; k < p->n_pcs && k < 256; k++) {
		if (!go_code_function(t->module, p->pcs[k], &f))
			continue;
		sink += go_pclntab_name(t, &f, p->pcs[k], name, sizeof(name));
		sink += go_pclntab_line(t, &f, p->pcs[k], file, sizeof(file));
		sink += name[0] + file[0];
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const versions[] = { "go1.26.8", "go1.17.13", "go1.19.13" };
	cleanup(go_profile_clear) struct go_profile p = { 0 };
	cleanup(image_closep) struct image *i = NULL;
	struct go_pclntab t;
	struct go_module m;
	struct go_layout l;
	struct error err;
	const uint64_t *pcs;

	/* beyond the picture one byte chooses the version */
	if (!size ||
	    go_layout_of(versions[size > GOIMAGE_BYTES ? data[size - 1] % 3 : 0], &l) != 1 ||
	    goimage_open(data, size, &i, &err) < 0)
		return 0;
	goimage_read_module(i, &l, &m);
	go_pclntab_open(&m, &t);
	if (go_profile_read(&t, &p, &err) < 0)
		return 0;
	name_all(&t, &p);
	for (size_t k = 0; k < p.n && k < 64; k++)
		sink += go_allocs_stack(&t, &p, &p.items[k], &pcs);
	return 0;
}
