/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * What Go does differently from machine to machine, of those that memwho runs on
 * (it reads programs of its own machine only): sizes in code, where a return
 * address stands, where a preempted goroutine's registers are.
 *
 * Sources: internal/goarch/goarch_ARCH.go (PCQuantum, MinFrameSize, StackAlign; in
 * internal/sys up to 1.17), runtime/traceback.go (usesLR), runtime/preempt_ARCH.s;
 * 1.17 to 1.26 are the same in all of it.
 */

#include <stdint.h>

#if defined(__x86_64__)

enum {
	GO_MACHINE_PC_QUANTUM = 1,
	/* a call pushes its return address: it is the last word of the callee's frame */
	GO_MACHINE_PUSHED = 8,
	/* from a frame's end to the arguments it was called with (MinFrameSize) */
	GO_MACHINE_TO_ARGS = 0,
	/* what is put below the frame of a function that is interrupted for another */
	GO_MACHINE_INJECTED = 0,
};

#elif defined(__aarch64__)

enum {
	GO_MACHINE_PC_QUANTUM = 4,
	/* a call leaves it in a register; the callee keeps it in the first word of its frame */
	GO_MACHINE_PUSHED = 0,
	GO_MACHINE_TO_ARGS = 8,
	/* the interrupted function's own return address, and a word to keep the stack aligned
	 * (signal_arm64.go, preparePanic() and pushCall()) */
	GO_MACHINE_INJECTED = 16,
};

#else
#error "see internal/goarch"
#endif

/* Where runtime.asyncPreempt, whose stack pointer is @sp, keeps its caller's register of DWARF's
 * number @reg; 0: nowhere. */
static inline uint64_t go_machine_spilled(uint64_t sp, uint32_t reg)
{
#if defined(__x86_64__)
	/* AX CX DX BX SI DI R8-R15, from the stack pointer up; DWARF has them as AX DX CX BX */
	static const int8_t place[] = { 0, 2, 1, 3, 4, 5, -1, -1, 6, 7, 8, 9, 10, 11, 12, 13 };

	return reg < sizeof(place) && place[reg] >= 0 ? sp + 8 * (uint64_t)place[reg] : 0;
#else
	/* R0-R17, R19-R26, behind the return address */
	if (reg > 26 || reg == 18)
		return 0;
	return sp + 8 + 8 * (uint64_t)(reg < 18 ? reg : reg - 1);
#endif
}

/* The register that keeps the return address of a function without a frame, of @regs (by DWARF
 * number); 0: there is none. */
static inline uint64_t go_machine_link(const uint64_t *regs)
{
#if defined(__x86_64__)
	return 0;
#else
	return regs[30];
#endif
}
