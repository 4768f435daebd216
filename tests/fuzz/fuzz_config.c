/* Configuration files of any bytes: read, or refused with a reason that fits. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/device_list.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct device_list list;
	char why[INI_WHY_SIZE];
	char *text = malloc(size + 1);

	memcpy(text, data, size);
	text[size] = '\0';
	if (device_list_parse("f", text, size, &list, why)) {
		if (strncmp(why, "f:", 2) != 0 || strlen(why) >= sizeof(why))
			abort();
	} else {
		for (unsigned i = 0; i < list.count; i++)
			if (!list.devices[i].uri ||
				device_list_find(&list, list.devices[i].name) != &list.devices[i])
				abort();
	}
	free(text);
	return 0;
}
