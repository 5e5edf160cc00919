// SPDX-License-Identifier: MIT
// Copyright (c) 2026 The ringlet authors
// The headers are tested by compiling and linking the other units of this program.
int main() {}
