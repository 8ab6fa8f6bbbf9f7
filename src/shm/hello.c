#include "shm/hello.h"

#include "base/err.h"

#include <errno.h>
#include <string.h>

/*
 *  0  8  "tenonshm"
 *  8  4  version
 * 12  4  0
 * 16  8  bytes of the ring to the client
 * 24  8  bytes of the ring to the server
 *
 * Numbers are little-endian: whether the other side was compiled for the same words is not to be guessed.
 */
static const unsigned char magic[8] = "tenonshm"; /* NOLINT: without the zero */

static void put(unsigned char *out, uint64_t value, int len)
{
	for (int i = 0; i < len; i++)
		out[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get(const unsigned char *data, int len)
{
	uint64_t value = 0;

	for (int i = 0; i < len; i++)
		value |= (uint64_t)data[i] << 8 * i;
	return value;
}

void tni_shm_hello_write(const struct tni_shm_hello *hello, unsigned char out[TNI_SHM_HELLO_LEN])
{
	memcpy(out, magic, sizeof(magic));
	put(out + 8, TNI_SHM_VERSION, 4);
	put(out + 12, 0, 4);
	put(out + 16, hello->down, 8);
	put(out + 24, hello->up, 8);
}

static int check_ring(uint64_t size, const char *whose)
{
	if (size < TNI_SHM_RING_MIN || size > TNI_SHM_RING_MAX || size & (size - 1))
		return tni_err(-EPROTO, "the server's ring %s has a size that none can have: %ju bytes", whose,
			       (uintmax_t)size);
	return 0;
}

bool tni_shm_hello_begins(const unsigned char *data, size_t len)
{
	return !memcmp(data, magic, len < sizeof(magic) ? len : sizeof(magic)) &&
	       (len < 12 || get(data + 8, 4) == TNI_SHM_VERSION);
}

int tni_shm_hello_read(struct tni_shm_hello *hello, const unsigned char *data, size_t len)
{
	uint64_t version;
	int rc;

	if (len < sizeof(magic) || memcmp(data, magic, sizeof(magic)) != 0)
		return tni_err(-EPROTO, "who listens there does not serve shm:");
	version = len >= 12 ? get(data + 8, 4) : 0;
	if (len >= 12 && version != TNI_SHM_VERSION)
		return tni_err(-EPROTO, "the server speaks version %ju of shm:, and this is version %d",
			       (uintmax_t)version, TNI_SHM_VERSION);
	if (len != TNI_SHM_HELLO_LEN || get(data + 12, 4))
		return tni_err(-EPROTO, "the server's hello of shm: is not whole");
	hello->down = get(data + 16, 8);
	hello->up = get(data + 24, 8);
	rc = check_ring(hello->down, "to us");
	return rc < 0 ? rc : check_ring(hello->up, "from us");
}
