/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A machine for which nobody has written stubs (stub.c is x86-64's): none fits, and
 * inject_open() refuses before one is asked for. */
#include "inject/stub.h"

static void none(struct stub *s)
{
	*s = (struct stub){ .overflow = true };
}

void stub_raw(struct stub *s, const struct stub_call *calls, size_t n, size_t room,
              const struct user_regs_struct *back)
{
	none(s);
}

void stub_syscall(struct stub *s, uint64_t area, const struct stub_call *call,
                  const struct user_regs_struct *back)
{
	none(s);
}

void stub_syscalls(struct stub *s, uint64_t area, const struct stub_call *calls,
                   const int64_t *expected, size_t n, const struct user_regs_struct *back)
{
	none(s);
}

void stub_function(struct stub *s, uint64_t area, const struct stub_call *call,
                   uint64_t errno_location, const struct user_regs_struct *back)
{
	none(s);
}

void stub_functions(struct stub *s, uint64_t area, const struct stub_table *table,
                    uint64_t errno_location, const struct user_regs_struct *back)
{
	none(s);
}

void stub_clone(struct stub *s, uint64_t area, bool twice, const struct user_regs_struct *back)
{
	none(s);
}
