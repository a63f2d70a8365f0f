/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* memwho je TARGET decay [MS]: what was predicted, by arenas, and what came back. */

#include <stdio.h>

#include "capture/capture_je_decay.h"

void je_decay_write(const struct capture_je *c, const struct capture_je_decay *d, FILE *to);
void je_decay_write_json(const struct capture_je *c, const struct capture_je_decay *d, FILE *to);
