/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* One datagram to systemd, as sd_notify(3) sends it; without systemd nothing. */

#include <stdint.h>

/* "READY=1", "STOPPING=1", "WATCHDOG=1", "RELOADING=1\nMONOTONIC_USEC=..." */
void notify_send(const char *state);
/* How often WATCHDOG=1 is to be said, half of what systemd waits; 0: it does not. */
uint64_t notify_watchdog_ns(void);
