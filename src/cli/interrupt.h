/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Ctrl-C for commands that look again and again: it ends the waiting, not the
 * look that is under way. Pressed twice it ends the program. */

#include <stdbool.h>
#include <stdint.h>

void interrupt_catch(void); /* SIGINT and SIGTERM */
bool interrupt_came(void);
/* Sleep until clock_now_ns() is @at_ns; false if a signal came. */
bool interrupt_sleep_until(uint64_t at_ns);
