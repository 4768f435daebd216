/* cache/lock_holder.h -- which process holds a lock on a byte of a file. */
#pragma once

#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>

/* lock_holder_find() - the process with a description of the file whose fstat(2) is @file that has a lock on @byte.
 * Returns its id and its name in @name, as log_quote() shows it; or 0: none, or one that we may not see. */
pid_t lock_holder_find(const struct stat *file, unsigned long long byte, char *name, size_t name_size);
