// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An allocator whose functions jump to one another, from outside (calloc ->
 * malloc) and from inside (realloc calls calloc, which jumps to malloc, and then
 * gives another address out). Preloaded in e2e/test_stress.py. Nothing is ever
 * reused.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

static char heap[64 << 20] __attribute__((aligned(64)));
static size_t used;

/* Each begins with a push, which the kernel emulates. */
__asm__(".text\n"
        ".globl malloc, calloc\n"
        ".type malloc, @function\n"
        "malloc:\n"
        ".cfi_startproc\n"
        "	push %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        "	call take_\n"
        "	pop %rbp\n"
        ".cfi_def_cfa_offset 8\n"
        "	ret\n"
        ".cfi_endproc\n"
        ".size malloc, .-malloc\n"
        ".type calloc, @function\n"
        "calloc:\n"
        ".cfi_startproc\n"
        "	push %rbp\n"
        ".cfi_def_cfa_offset 16\n"
        "	imul %rsi, %rdi\n"
        "	pop %rbp\n"
        ".cfi_def_cfa_offset 8\n"
        "	jmp malloc\n"
        ".cfi_endproc\n"
        ".size calloc, .-calloc\n");

void *calloc(size_t n, size_t size);
void *malloc(size_t size);

__attribute__((used)) static void *take(size_t size) __asm__("take_");
static void *take(size_t size)
{
	size_t at;

	if (size > sizeof(heap))
		return NULL;
	at = __atomic_fetch_add(&used, (size + 31) & ~(size_t)15, __ATOMIC_RELAXED);

	if (at + size + 32 > sizeof(heap))
		return NULL;
	*(size_t *)(void *)(heap + at + 8) = size;
	return heap + at + 16;
}

__attribute__((noinline)) void *realloc(void *old, size_t size)
{
	char *p = calloc(1, size + 64);
	size_t had = old ? ((size_t *)old)[-1] : 0;

	if (!p)
		return NULL;
	p += 64;
	((size_t *)(void *)p)[-1] = size;
	if (old)
		memcpy(p, old, had < size ? had : size);
	return p;
}

__attribute__((noinline)) void free(void *p)
{
	__asm__ volatile("" ::"r"(p) : "memory");
}
