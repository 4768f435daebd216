/* cache/crc32c.h -- CRC-32C (Castagnoli), as iSCSI and ext4 have it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Goes on from @sum; the first is 0: crc32c(crc32c(0, a), b) is the sum of a and b behind it. Any thread. */
uint32_t crc32c(uint32_t sum, const void *bytes, size_t length);
