/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "runtime/usdt/usdt_notes.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

enum { TYPE = 3, HEAD = 12, ADDRESSES = 24, ALIGN = 4 };

static const char owner[8] = "stapsdt";

static size_t aligned(size_t n)
{
	return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
}

/* Three strings that end within @len bytes. */
static bool split(const uint8_t *strings, size_t len, struct usdt_note *ret)
{
	const char **const to[] = { &ret->provider, &ret->name, &ret->arguments };

	for (size_t i = 0, at = 0; i < ARRAY_SIZE(to); i++) {
		const uint8_t *end = at < len ? memchr(strings + at, 0, len - at) : NULL;

		if (!end)
			return false;
		*to[i] = (const char *)strings + at;
		at = (size_t)(end - strings) + 1;
	}
	return true;
}

int usdt_notes_next(const uint8_t *notes, size_t len, size_t *pos, struct usdt_note *ret)
{
	while (*pos < len) {
		const uint8_t *at = notes + *pos, *desc;
		size_t left = len - *pos;
		uint32_t head[3]; /* sizes of owner and bytes, type */

		if (left < HEAD)
			return -EBADMSG;
		memcpy(head, at, HEAD);
		left -= HEAD;
		if (head[0] > left || aligned(head[0]) > left || head[1] > left - aligned(head[0]))
			return -EBADMSG;
		desc = at + HEAD + aligned(head[0]);
		*pos += HEAD + aligned(head[0]) + aligned(head[1]);
		if (head[2] != TYPE || head[0] != sizeof(owner) ||
		    memcmp(at + HEAD, owner, sizeof(owner)) || head[1] < ADDRESSES)
			continue;
		memcpy(&ret->pc, desc, 8);
		memcpy(&ret->base, desc + 8, 8);
		memcpy(&ret->semaphore, desc + 16, 8);
		if (split(desc + ADDRESSES, head[1] - ADDRESSES, ret))
			return 1;
	}
	return 0;
}

/* ---- arguments ---- */

struct operand {
	int bytes; /* 1 to 8; negative: signed */
	char text[64];
};

static int find_argument(const char *arguments, unsigned n, struct operand *ret)
{
	const char *at = arguments, *text;
	char *end;
	long bytes;

	for (unsigned i = 0;; i++) {
		at += strspn(at, " ");
		if (!*at)
			return -ENOENT;
		if (i == n)
			break;
		at += strcspn(at, " ");
	}
	bytes = strtol(at, &end, 10);
	if (end == at || *end != '@' || !bytes || labs(bytes) > 8)
		return -ENOTSUP;
	text = end + 1;
	if (strcspn(text, " ") >= sizeof(ret->text))
		return -ENOTSUP;
	ret->bytes = (int)bytes;
	snprintf(ret->text, sizeof(ret->text), "%.*s", (int)strcspn(text, " "), text);
	return 0;
}

/* In the order in which instructions number them; the names of their lower parts too. */
static const char *const registers[16][4] = {
	{ "rax", "eax", "ax", "al" },      { "rcx", "ecx", "cx", "cl" },
	{ "rdx", "edx", "dx", "dl" },      { "rbx", "ebx", "bx", "bl" },
	{ "rsp", "esp", "sp", "spl" },     { "rbp", "ebp", "bp", "bpl" },
	{ "rsi", "esi", "si", "sil" },     { "rdi", "edi", "di", "dil" },
	{ "r8", "r8d", "r8w", "r8b" },     { "r9", "r9d", "r9w", "r9b" },
	{ "r10", "r10d", "r10w", "r10b" }, { "r11", "r11d", "r11w", "r11b" },
	{ "r12", "r12d", "r12w", "r12b" }, { "r13", "r13d", "r13w", "r13b" },
	{ "r14", "r14d", "r14w", "r14b" }, { "r15", "r15d", "r15w", "r15b" },
};

/* "%rdi" at @at, which moves behind it; -1: no such register. */
static int parse_register(const char **at)
{
	const char *name = *at + 1;
	const size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789");

	for (int i = 0; **at == '%' && i < 16; i++) {
		for (int k = 0; k < 4; k++) {
			if (strlen(registers[i][k]) != len || strncmp(registers[i][k], name, len))
				continue;
			*at = name + len;
			return i;
		}
	}
	return -1;
}

static bool parse_number(const char **at, long *ret)
{
	char *end;

	errno = 0;
	*ret = strtol(*at, &end, 0);
	if (end == *at || errno || *ret < INT_MIN || *ret > INT_MAX)
		return false;
	*at = end;
	return true;
}

/* The lower @bytes of the accumulator; a size or an address is not negative. */
static const char *cut_to(int bytes)
{
	switch (abs(bytes)) {
	case 4: return " SHLI32 SHRI32";
	case 2: return " SHLI48 SHRI48";
	case 1: return " SHLI56 SHRI56";
	default: return "";
	}
}

/* "disp(%base,%index,scale)" from its "(" on: the address into the accumulator. */
static int address(const char *at, long disp, int bytes, char *buf, size_t size)
{
	const char *load = abs(bytes) == 8 ? "LD8" : "LD4";
	int base, index, shift = 0;
	long scale = 1;

	at++;
	base = parse_register(&at);
	if (base >= 0 && !strcmp(at, ")"))
		return snprintf(buf, size, "REG%d %s:%ld%s", base, load, disp,
		                abs(bytes) < 4 ? cut_to(bytes) : "");
	if (base < 0 || *at++ != ',')
		return -ENOTSUP;
	index = parse_register(&at);
	if (index < 0)
		return -ENOTSUP;
	if (*at == ',' && (at++, !parse_number(&at, &scale)))
		return -ENOTSUP;
	while (shift < 3 && 1 << shift != scale)
		shift++;
	if (strcmp(at, ")") || 1 << shift != scale)
		return -ENOTSUP;
	return snprintf(buf, size, "REG%d SHLI%d ST3 REG%d ADD3 %s:%ld%s", index, shift, base, load,
	                disp, abs(bytes) < 4 ? cut_to(bytes) : "");
}

int usdt_notes_argument(const char *arguments, unsigned n, char *buf, size_t size)
{
	struct operand o;
	const char *at = o.text;
	int reg, r = find_argument(arguments, n, &o);
	long number = 0;

	if (r < 0)
		return r;
	if (*at == '$') {
		at++;
		r = parse_number(&at, &number) && !*at
		            ? snprintf(buf, size, "IMM%ld%s", number, cut_to(o.bytes))
		            : -ENOTSUP;
	} else if (*at == '%') {
		reg = parse_register(&at);
		r = reg >= 0 && !*at ? snprintf(buf, size, "REG%d%s", reg, cut_to(o.bytes))
		                     : -ENOTSUP;
	} else if (*at == '(' || parse_number(&at, &number)) {
		r = *at == '(' ? address(at, number, o.bytes, buf, size) : -ENOTSUP;
	} else {
		r = -ENOTSUP;
	}
	if (r < 0)
		return r;
	return (size_t)r < size ? 0 : -ENOSPC;
}
