/* SPDX-License-Identifier: GPL-2.0-or-later */

/*
 * Source of the seeds in corpus/elf and corpus/eh_frame (first byte: 1, and 0
 * for .debug_frame):
 *
 *	gcc -shared -nostdlib -Wl,-z,noseparate-code,--hash-style=both,--build-id,-soname,libx.so
 *	gcc -shared -nostdlib -Wl,-z,noseparate-code,--hash-style=gnu -s
 *	gcc -static -nostdlib -Wl,-z,noseparate-code,-e,main,--build-id
 *	the same with .cfi_sections .debug_frame and --compress-debug-sections=zlib
 */

	.section .data.rel.ro,"aw"
	.globl table
	.type table,@object
	.size table,16
table:	.quad main, main+4
	.text
	.globl main
	.type main,@function
main:	.cfi_startproc
	push %rbp
	.cfi_adjust_cfa_offset 8
	.cfi_offset rbp, -16
	mov %rsp,%rbp
	.cfi_def_cfa_register rbp
	.cfi_remember_state
	pop %rbp
	.cfi_def_cfa rsp, 8
	.cfi_restore rbp
	ret
	.cfi_restore_state
	nop
	.cfi_undefined rip
	nop
	.cfi_endproc
	.size main,.-main
	.globl other
	.type other,@function
other:	.cfi_startproc
	.cfi_signal_frame
	.cfi_escape 0x0f,4,0x77,0xa0,1,6
	.cfi_escape 0x10,6,3,0x77,0xf8,0
	.cfi_escape 0x10,16,3,0x77,0xa8,1
	nop
	.cfi_endproc
	.size other,.-other
	.cfi_startproc
	nop
	.cfi_escape 0x0f,11,0x77,8,0x80,0,0x3f,0x1a,0x3b,0x2a,0x33,0x24,0x22
	nop
	.cfi_def_cfa rsp, 40000
	.cfi_same_value rbp
	nop
	.cfi_register rbp, rax
	nop
	.cfi_escape 0x0f,3,0x76,0x78,6
	.cfi_escape 0x10,6,2,0x76,0
	nop
	.cfi_val_offset rsp, 8
	.cfi_escape 0x2e,16
	.cfi_escape 0x16,6,1,0x30
	nop
	.cfi_endproc
