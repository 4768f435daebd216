/* conf/container.h -- from a member back to the struct that holds it. */
#pragma once

#include <stddef.h>

#define container_of(member_pointer, type, member) \
	((type *)(void *)((char *)(member_pointer)-offsetof(type, member)))
