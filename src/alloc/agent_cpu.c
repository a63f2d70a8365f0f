/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "alloc/agent_cpu.h"

#include <elf.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/agent_format.h"
#include "alloc/agent_place.h"
#include "base/cleanup.h"
#include "target/elf_file.h"

enum {
	LAST_OF_CPU_ID_START = 3, /* include/uapi/linux/rseq.h: cpu_id_start, cpu_id */
	FURTHEST = 1 << 20,       /* bytes from the thread pointer; glibc's are some thousand */
};

long agent_cpu_highest(const char *list)
{
	long highest = -1;

	while (*list) {
		char *end;
		const long n = strtol(list, &end, 10);

		if (end == list || n < 0)
			return -1;
		highest = n > highest ? n : highest;
		list = end + strspn(end, "-,\n");
	}
	return highest;
}

static bool machine_is_small(void)
{
	cleanup_fclose FILE *f = fopen("/sys/devices/system/cpu/possible", "re");
	char list[256];
	long highest;

	if (!f || !fgets(list, sizeof(list), f))
		return false;
	highest = agent_cpu_highest(list);
	return highest >= 0 && highest < AGENT_CPUS - 1;
}

/* What is at symbol @name of the module. */
static bool read_object(const struct tracee *t, struct symbol_module *m, const char *name,
                        void *ret, size_t size)
{
	struct elf_file *elf = symbol_module_elf(m);
	struct elf_symbol s;
	u64 bias;

	return elf && elf_file_symbol(elf, ELF_ALL, name, &s) == 0 && s.type == STT_OBJECT &&
	       s.size == size && tracee_find_bias(t, m, &bias) &&
	       agent_place_read(t->target, s.value + bias, ret, size) == (ssize_t)size;
}

int64_t agent_cpu_find(const struct tracee *t)
{
	if (!machine_is_small())
		return 0;
	for (size_t i = 0; i < symbol_space_n(t->space); i++) {
		const struct symbol_mapping *m = symbol_space_at(t->space, i);
		int64_t offset;
		uint32_t size;

		if (!m->module || m->gone ||
		    !read_object(t, m->module, "__rseq_offset", &offset, sizeof(offset)) ||
		    !read_object(t, m->module, "__rseq_size", &size, sizeof(size)))
			continue;
		return size && llabs(offset) < FURTHEST ? offset + LAST_OF_CPU_ID_START : 0;
	}
	return 0;
}
