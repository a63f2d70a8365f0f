/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/steps.h"

#include <stddef.h>

void (*steps_hook)(const char *what) = NULL;
