#include "shm/memory.h"

#include "base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

_Static_assert(2 * sizeof(struct tni_ring_shared) <= TNI_SHM_RINGS_AT, "what stands in front of the rings has room");

static int map(struct tni_shm_memory *memory, const struct tni_shm_hello *sizes, int fd)
{
	void *at = mmap(NULL, (size_t)tni_shm_size(sizes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (at == MAP_FAILED && errno == ENOMEM)
		return tni_err(
			-ENOMEM,
			"shared memory: no addresses for %ju bytes (ulimit -v, vm.max_map_count): raise the limit, "
			"or serve with a smaller key ring",
			(uintmax_t)tni_shm_size(sizes));
	if (at == MAP_FAILED)
		return tni_err(-errno, "shared memory: %s", tn_strerror(-errno));
	*memory = (struct tni_shm_memory){.at = at, .len = (size_t)tni_shm_size(sizes), .sizes = *sizes};
	return 0;
}

/* A file that would be longer than the limit is not only an error: by default the process gets SIGXFSZ, and dies. */
static bool is_within_limit(uint64_t size)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_FSIZE, &limit) < 0 || size <= limit.rlim_cur;
}

/* The page of the indices is never given back, so it is there from the start. */
static int begin(int fd, const struct tni_shm_hello *sizes)
{
	if (!is_within_limit(tni_shm_size(sizes)))
		return tni_err(
			-EFBIG,
			"shared memory: %ju bytes are more than a file may have (ulimit -f, LimitFSIZE=): raise the "
			"limit, or serve with a smaller key ring",
			(uintmax_t)tni_shm_size(sizes));
	if (ftruncate(fd, (off_t)tni_shm_size(sizes)) < 0 || fallocate(fd, 0, 0, TNI_SHM_RINGS_AT) < 0 ||
	    fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		return tni_err(-errno, "shared memory: %s", tn_strerror(-errno));
	return 0;
}

int tni_shm_memory_make(struct tni_shm_memory *memory, const struct tni_shm_hello *sizes, uint64_t inode, int *out)
{
	char name[40];
	int fd, rc;

	snprintf(name, sizeof(name), "tenon-shm:%ju", (uintmax_t)inode);
	fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return tni_err(-errno, "shared memory: %s", tn_strerror(-errno));
	rc = begin(fd, sizes);
	if (rc == 0)
		rc = map(memory, sizes, fd);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*out = fd;
	return 0;
}

int tni_shm_memory_take(struct tni_shm_memory *memory, const struct tni_shm_hello *sizes, int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);
	struct statfs fs;
	struct stat st;

	if (seals < 0 || fstatfs(fd, &fs) < 0 || fstat(fd, &st) < 0)
		return tni_err(-EPROTO, "what the server has sent is no memory file");
	if (fs.f_type != TMPFS_MAGIC) /* huge pages may be lacking when they are touched */
		return tni_err(-EPROTO, "the server's memory file is not of ordinary memory");
	if (!(seals & F_SEAL_SHRINK))
		return tni_err(-EPROTO, "the server's memory file could be cut short: it is not sealed");
	if ((uint64_t)st.st_size != tni_shm_size(sizes))
		return tni_err(-EPROTO, "the server's memory file has %jd bytes, and its hello says %ju",
			       (intmax_t)st.st_size, (uintmax_t)tni_shm_size(sizes));
	return map(memory, sizes, fd);
}

void tni_shm_memory_free(struct tni_shm_memory *memory)
{
	if (memory->at)
		munmap(memory->at, memory->len);
	memory->at = NULL;
}

void tni_shm_memory_rings(const struct tni_shm_memory *memory, bool server, struct tni_ring *in, struct tni_ring *out)
{
	struct tni_ring_shared *shared = memory->at;
	unsigned char *data = (unsigned char *)memory->at + TNI_SHM_RINGS_AT;

	tni_ring_init(server ? out : in, &shared[0], data, memory->sizes.down);
	tni_ring_init(server ? in : out, &shared[1], data + memory->sizes.down, memory->sizes.up);
}

/* Whole pages of it: the indices may share one with its beginning where pages are larger than 4 KiB. */
static bool pages_of(const struct tni_ring *ring, unsigned char **from, size_t *len, bool all)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1, begins = (uintptr_t)ring->data,
		  ends = begins + (uintptr_t)ring->size;

	begins = all ? begins & ~page : (begins + page) & ~page;
	ends = all ? (ends + page) & ~page : ends & ~page;
	*from = (unsigned char *)begins; /* NOLINT(performance-no-int-to-ptr) */
	*len = ends > begins ? ends - begins : 0;
	return *len;
}

int tni_shm_pages_get(const struct tni_ring *ring)
{
	unsigned char *from;
	size_t len;

	/* EINVAL: before Linux 5.14 nobody can be asked */
	if (!pages_of(ring, &from, &len, true) || madvise(from, len, MADV_POPULATE_WRITE) == 0 || errno == EINVAL)
		return 0;
	return -ENOMEM;
}

void tni_shm_pages_drop(const struct tni_ring *ring)
{
	unsigned char *from;
	size_t len;

	if (pages_of(ring, &from, &len, false))
		(void)madvise(from, len, MADV_REMOVE);
}
