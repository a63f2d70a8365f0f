// SPDX-License-Identifier: GPL-2.0-or-later
// Nothing: only the dependency is wanted.
