/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/go/go_pclntab.h"

#include <string.h>

#include "target/image.h"

void go_pclntab_open(const struct go_module *m, struct go_pclntab *ret)
{
	const struct go_layout *l = m->layout;

	*ret = (struct go_pclntab){
		.module = m,
		.units = image_uint64(m->image, m->at + l->moduledata_cutab),
		.n_units = image_uint64(m->image, m->at + l->moduledata_cutab + 8),
		.files = image_uint64(m->image, m->at + l->moduledata_filetab),
		.files_bytes = image_uint64(m->image, m->at + l->moduledata_filetab + 8),
	};
}

/* Names are foreign bytes. */
static void clean(char *text)
{
	for (char *c = text; *c; c++) {
		if ((unsigned char)*c < ' ')
			*c = '?';
	}
}

bool go_pclntab_name(const struct go_pclntab *t, const struct go_code_function *f, uint64_t pc,
                     char *buf, size_t size)
{
	struct go_code_call call;
	bool is_inlined = go_code_inlined(t->module, f, pc, &call);

	go_code_name(t->module, is_inlined ? call.name : go_code_name_of(t->module, f), buf, size);
	clean(buf);
	return is_inlined;
}

unsigned go_pclntab_line(const struct go_pclntab *t, const struct go_code_function *f, uint64_t pc,
                         char *file, size_t size)
{
	const struct go_module *m = t->module;
	const struct go_layout *l = m->layout;
	int32_t number = go_code_value(m, f, image_uint32(m->image, f->record + l->func_pcfile),
	                               pc);
	int32_t line = go_code_value(m, f, image_uint32(m->image, f->record + l->func_pcln), pc);
	uint64_t unit = (uint64_t)image_uint32(m->image, f->record + l->func_cu) + (uint32_t)number;
	uint32_t offset;

	file[0] = '\0';
	if (number < 0 || line <= 0 || unit >= t->n_units)
		return 0;
	offset = image_uint32(m->image, t->units + 4 * unit);
	if (offset >= t->files_bytes)
		return 0;
	go_code_text(m, t->files + offset, file, size);
	clean(file);
	return (unsigned)line;
}
