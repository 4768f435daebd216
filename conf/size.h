/* conf/size.h -- a number of bytes as an operator writes it: 4096, 64K, 10G; K, M, G, T are powers of 1024. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Returns 0 and the bytes in @out; -EINVAL: not such a number; -ERANGE: past INT64_MAX. */
int size_parse(const char *text, uint64_t *out);

/* size_text() - as an operator reads it, rounded: "512 bytes", "1.5 GiB". Returns @out. */
const char *size_text(uint64_t bytes, char *out, size_t out_size);
