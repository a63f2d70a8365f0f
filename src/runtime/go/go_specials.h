/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * Roots that hang on objects: finalizers, cleanups, weak handles, pins; and the
 * finalizers and cleanups whose object is gone and that wait for their turn. What a
 * goroutine holds, too, is the goroutine's: they are of a weaker tier. A weak
 * handle is a root; the object that it stands for is not held by it. Facts:
 * mheap.go (special), mfinal.go, mcleanup.go, mgcmark.go (markrootSpans).
 */

#include "runtime/go/go_emit.h"
#include "runtime/go/go_symbols.h"

int go_specials_each(struct go_emit *e, const struct go_symbols *symbols);
