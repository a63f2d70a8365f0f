/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What `memwho je` says, for people and for scripts. */

#include <stdio.h>

#include "base/json.h"
#include "capture/capture_je.h"

void je_write_state(const struct capture_je *c, const struct capture_je_state *s, FILE *to);
void je_write_state_json(const struct capture_je *c, const struct capture_je_state *s, FILE *to);
void je_write_purge(const struct capture_je *c, const struct capture_je_purge *p, FILE *to);
void je_write_purge_json(const struct capture_je *c, const struct capture_je_purge *p, FILE *to);
/* One figure that was set; two switches. */
void je_write_number_json(const struct capture_je *c, const char *key, int64_t v, FILE *to);
void je_write_flags_json(const struct capture_je *c, const char *key, bool v, const char *other,
                         bool v2, FILE *to);
/* What every answer begins and ends with: whom it is of; what calls it took. */
struct json je_write_begin_json(const struct capture_je *c, const char *what, FILE *to);
void je_write_end_json(const struct capture_je *c, struct json *j, FILE *to);
