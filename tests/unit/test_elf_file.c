/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "base/cleanup.h"
#include "target/elf_file.h"

/* an exported and a static object of this very program */
int test_elf_file_exported = 5;
static int hidden_number = 6;
static int *const pointer_to_hidden = &hidden_number;
static int *const *volatile keep_pointer = &pointer_to_hidden;

static struct elf_file *open_path(const char *path)
{
	struct elf_file *f = NULL;
	struct error err = { 0 };

	if (elf_file_open(open(path, O_RDONLY | O_CLOEXEC), path, &f, &err) < 0)
		fail_msg("%s", err.message);
	return f;
}

static int open_bytes(const void *data, size_t len, struct elf_file **ret, struct error *err)
{
	int fd = memfd_create("elf", MFD_CLOEXEC);

	assert_int_equal(write(fd, data, len), len);
	return elf_file_open(fd, "elf", ret, err);
}

static uint64_t own_bias(void)
{
	Dl_info info;
	struct link_map *map;

	assert_true(dladdr1(&test_elf_file_exported, &info, (void **)&map, RTLD_DL_LINKMAP));
	return map->l_addr;
}

static void own_symbols_have_their_addresses(void **state)
{
	cleanup(elf_file_closep) struct elf_file *f = open_path("/proc/self/exe");
	uint64_t bias = own_bias();
	struct elf_symbol s;

	assert_int_equal(elf_file_symbol(f, ELF_ALL, "test_elf_file_exported", &s), 0);
	assert_true(s.defined);
	assert_int_equal(s.value + bias, (uintptr_t)&test_elf_file_exported);
	assert_int_equal(s.size, sizeof(int));
	assert_int_equal(s.type, STT_OBJECT);
	assert_int_equal(elf_file_symbol(f, ELF_SYMTAB, "own_symbols_have_their_addresses", &s), 0);
	assert_int_equal(s.value + bias, (uintptr_t)own_symbols_have_their_addresses);
	assert_int_equal(elf_file_symbol(f, ELF_ALL, "no such name", &s), -ENOENT);
	assert_int_equal(elf_file_symbol(f, ELF_ALL, "", &s), -ENOENT);
}

static void words_are_relocated_without_bias(void **state)
{
	cleanup(elf_file_closep) struct elf_file *f = open_path("/proc/self/exe");
	uint64_t bias = own_bias(), word = 0;
	int copy = 0;
	struct error err;

	assert_int_equal(elf_file_word(f, (uintptr_t)keep_pointer - bias, &word, &err), 0);
	assert_int_equal(word + bias, (uintptr_t)&hidden_number);
	assert_int_equal(elf_file_read_vaddr(f, (uintptr_t)&test_elf_file_exported - bias, &copy,
	                                     sizeof(copy), &err),
	                 0);
	assert_int_equal(copy, 5);
	assert_int_equal(elf_file_word(f, 0x7fffffffffff, &word, &err), -ERANGE);
}

static int bias_of(struct dl_phdr_info *info, size_t size, void *arg)
{
	const char *name = info->dlpi_name[0] ? info->dlpi_name : "/proc/self/exe";
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	uint64_t page = sysconf(_SC_PAGESIZE) - 1, bias;

	if (strstr(name, "vdso"))
		return 0;
	f = open_path(name);
	for (int i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];

		if (p->p_type != PT_LOAD || !(p->p_flags & PF_X))
			continue;
		assert_true(elf_file_bias(f, info->dlpi_addr + (p->p_vaddr & ~page),
		                          p->p_offset & ~page, &bias));
		assert_int_equal(bias, info->dlpi_addr);
		/* a part of it, as mprotect() leaves it */
		assert_true(elf_file_bias(f, info->dlpi_addr + (p->p_vaddr & ~page) + page + 1,
		                          (p->p_offset & ~page) + page + 1, &bias));
		assert_int_equal(bias, info->dlpi_addr);
	}
	return 0;
}

static void bias_is_the_loaders(void **state)
{
	dl_iterate_phdr(bias_of, NULL);
}

static void default_versions_win(void **state)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	Dl_info info;
	struct elf_symbol s;
	uint64_t bias;
	void *p = dlsym(RTLD_DEFAULT, "memcpy");

	/* two versions each in libc.so.6 */
	p = dlvsym(RTLD_DEFAULT, "pthread_cond_wait", "GLIBC_2.3.2");
	if (!p) /* arm64's first */
		p = dlvsym(RTLD_DEFAULT, "pthread_cond_wait", "GLIBC_2.17");
	assert_true(dladdr(p, &info));
	f = open_path(info.dli_fname);
	bias = (uintptr_t)info.dli_fbase;
	assert_int_equal(elf_file_symbol(f, ELF_DYNSYM, "pthread_cond_wait", &s), 0);
	assert_int_equal(s.value + bias, (uintptr_t)p);
	assert_string_equal(elf_file_soname(f), "libc.so.6");
}

static int count_symbol(const struct elf_symbol *s, void *arg)
{
	(*(size_t *)arg)++;
	return 0;
}

static void cut_section_headers(const char *path, struct elf_file **ret)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	off_t len = lseek(fd, 0, SEEK_END);
	cleanup_free char *data = malloc(len);
	struct error err;
	Elf64_Ehdr *h = (Elf64_Ehdr *)data;

	assert_int_equal(pread(fd, data, len, 0), len);
	h->e_shoff = h->e_shnum = h->e_shstrndx = 0;
	assert_int_equal(open_bytes(data, len, ret, &err), 0);
}

/* sstrip: everything comes from program headers then */
static void program_headers_are_enough(void **state)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL, *whole = NULL;
	char hex[2 * ELF_FILE_BUILD_ID_BYTES + 1], whole_hex[sizeof(hex)];
	size_t n = 0, whole_n = 0;
	struct elf_section section;
	struct elf_symbol a, b;
	Dl_info info;

	assert_true(dladdr(dlsym(RTLD_DEFAULT, "malloc"), &info));
	cut_section_headers(info.dli_fname, &f);
	whole = open_path(info.dli_fname);
	assert_false(elf_file_section(f, ".text", &section));
	assert_true(elf_file_section(whole, ".text", &section));
	assert_int_equal(elf_file_symbol(f, ELF_ALL, "malloc", &a), 0);
	assert_int_equal(elf_file_symbol(whole, ELF_DYNSYM, "malloc", &b), 0);
	assert_int_equal(a.value, b.value);
	elf_file_each_symbol(f, ELF_DYNSYM, count_symbol, &n);
	elf_file_each_symbol(whole, ELF_DYNSYM, count_symbol, &whole_n);
	assert_int_equal(n, whole_n);
	elf_file_build_id_hex(f, hex);
	elf_file_build_id_hex(whole, whole_hex);
	assert_string_equal(hex, whole_hex);
	assert_true(strlen(hex) >= 32);
}

/* One PT_LOAD over the whole file and two sections: .names, .data */
struct small {
	Elf64_Ehdr h;
	Elf64_Phdr load;
	Elf64_Shdr sections[3];
	char names[32];
	uint8_t data[512];
};

static struct small small_file(void)
{
	struct small s = {
		.h = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB },
		       .e_type = ET_DYN,
		       .e_machine = EM_X86_64,
		       .e_phoff = offsetof(struct small, load),
		       .e_phnum = 1,
		       .e_phentsize = sizeof(Elf64_Phdr),
		       .e_shoff = offsetof(struct small, sections),
		       .e_shnum = 3,
		       .e_shentsize = sizeof(Elf64_Shdr),
		       .e_shstrndx = 1 },
		.load = { .p_type = PT_LOAD,
		          .p_flags = PF_R,
		          .p_vaddr = 0x400000,
		          .p_filesz = sizeof(s),
		          .p_memsz = sizeof(s) + 64 },
		.sections = { { 0 },
		              { .sh_name = 1,
		                .sh_type = SHT_STRTAB,
		                .sh_offset = offsetof(struct small, names),
		                .sh_size = sizeof(s.names) },
		              { .sh_name = 8,
		                .sh_type = SHT_PROGBITS,
		                .sh_offset = offsetof(struct small, data),
		                .sh_size = sizeof(s.data) } },
		.names = "\0.names\0.data",
	};

	return s;
}

static void check_inflated(uint32_t type, const void *packed, size_t packed_len, const char *truth)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	cleanup_free void *data = NULL;
	struct small s = small_file();
	struct elf_section section;
	struct error err = { 0 };
	Elf64_Chdr c = { .ch_type = type, .ch_size = strlen(truth), .ch_addralign = 1 };
	size_t len = 0;

	memcpy(s.data, &c, sizeof(c));
	memcpy(s.data + sizeof(c), packed, packed_len);
	s.sections[2].sh_size = sizeof(c) + packed_len;
	s.sections[2].sh_flags = SHF_COMPRESSED;
	assert_int_equal(open_bytes(&s, sizeof(s), &f, &err), 0);
	assert_true(elf_file_section(f, ".data", &section));
	assert_int_equal(elf_file_section_data(f, &section, 1 << 20, &data, &len, &err), 0);
	assert_int_equal(len, strlen(truth));
	assert_memory_equal(data, truth, len);
	assert_int_equal(elf_file_section_data(f, &section, 8, &data, &len, &err), -EFBIG);
	section.size -= 3;
	assert_int_equal(elf_file_section_data(f, &section, 1 << 20, &data, &len, &err), -EBADMSG);
}

static void compressed_sections_are_inflated(void **state)
{
	char truth[1001] = "", packed[256];
	uLongf len = sizeof(packed);

	for (size_t i = 0; i < sizeof(truth) - 1; i++)
		truth[i] = 'a' + i % 7;
	assert_int_equal(compress((Bytef *)packed, &len, (Bytef *)truth, strlen(truth)), Z_OK);
	check_inflated(ELFCOMPRESS_ZLIB, packed, len, truth);
	len = ZSTD_compress(packed, sizeof(packed), truth, strlen(truth), 3);
	check_inflated(2, packed, len, truth);
}

static void reads_stay_inside(void **state)
{
	cleanup(elf_file_closep) struct elf_file *f = NULL;
	struct small s = small_file();
	struct error err = { 0 };
	uint8_t b[80];
	uint64_t x;

	memset(s.data, 7, sizeof(s.data));
	assert_int_equal(open_bytes(&s, sizeof(s), &f, &err), 0);
	assert_int_equal(elf_file_read(f, sizeof(s) - 4, b, 4, &err), 0);
	assert_int_equal(elf_file_read(f, sizeof(s) - 4, b, 5, &err), -ERANGE);
	assert_int_equal(elf_file_read(f, UINT64_MAX, b, 5, &err), -ERANGE);
	/* memory beyond the file's part is zero, up to p_memsz */
	assert_int_equal(elf_file_read_vaddr(f, 0x400000 + sizeof(s) - 4, b, 68, &err), 0);
	assert_int_equal(b[3], 7);
	assert_int_equal(b[4], 0);
	assert_int_equal(elf_file_read_vaddr(f, 0x400000 + sizeof(s) - 4, b, 69, &err), -ERANGE);
	assert_true(elf_file_offset(f, 0x400010, &x));
	assert_int_equal(x, 0x10);
	assert_false(elf_file_offset(f, 0x400000 + sizeof(s), &x));
	assert_true(elf_file_vaddr(f, 0x10, &x));
	assert_int_equal(x, 0x400010);
	assert_int_equal(ftruncate(elf_file_fd(f), 100), 0);
	assert_int_equal(elf_file_read(f, 200, b, 5, &err), -EIO);
}

static void lying_section_headers_are_no_sections(void **state)
{
	for (int lie = 0; lie < 4; lie++) {
		cleanup(elf_file_closep) struct elf_file *f = NULL;
		struct small s = small_file();
		struct elf_section section;
		struct error err = { 0 };

		if (lie == 0)
			s.h.e_shoff = UINT64_MAX - 8;
		else if (lie == 1)
			s.h.e_shnum = 60000;
		else if (lie == 2)
			s.h.e_shstrndx = 3;
		else
			s.sections[1].sh_size = UINT64_MAX;
		assert_int_equal(open_bytes(&s, sizeof(s), &f, &err), 0);
		assert_false(elf_file_section(f, ".data", &section));
	}
}

static void what_is_not_elf_is_refused(void **state)
{
	struct elf_file *f = NULL;
	struct error err = { 0 };
	struct small s = small_file();

	assert_int_equal(open_bytes("#!/bin/sh\n", 10, &f, &err), -ENOEXEC);
	s.h.e_ident[EI_CLASS] = ELFCLASS32;
	assert_int_equal(open_bytes(&s, sizeof(s), &f, &err), -ENOEXEC);
	assert_string_equal(err.message, "elf: not a 64-bit ELF file");
	s = small_file();
	s.h.e_phnum = 9999;
	assert_int_equal(open_bytes(&s, sizeof(s), &f, &err), -ENOEXEC);
	assert_int_equal(elf_file_open(open("/dev/zero", O_RDONLY), "z", &f, &err), -ENOEXEC);
	assert_null(f);
}

/* no prefix of a good file makes trouble */
static void every_short_file_is_survived(void **state)
{
	struct small s = small_file();

	for (size_t len = 0; len < sizeof(s); len += 3) {
		cleanup(elf_file_closep) struct elf_file *f = NULL;
		struct elf_symbol sym;
		struct error err = { 0 };

		if (open_bytes(&s, len, &f, &err) < 0)
			continue;
		assert_int_equal(elf_file_symbol(f, ELF_ALL, "x", &sym), -ENOENT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_symbols_have_their_addresses),
		cmocka_unit_test(words_are_relocated_without_bias),
		cmocka_unit_test(bias_is_the_loaders),
		cmocka_unit_test(default_versions_win),
		cmocka_unit_test(program_headers_are_enough),
		cmocka_unit_test(compressed_sections_are_inflated),
		cmocka_unit_test(reads_stay_inside),
		cmocka_unit_test(lying_section_headers_are_no_sections),
		cmocka_unit_test(what_is_not_elf_is_refused),
		cmocka_unit_test(every_short_file_is_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
