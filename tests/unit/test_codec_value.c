#include "test_codec.h"

#include <errno.h>
#include <math.h>

#include "codec/value.h"

static void kinds_read_back(void **state)
{
	struct tn_value *in = tn_value_new_null(NULL);
	struct tn_value *v;
	const char *text;
	int64_t i;
	uint64_t u;
	double d;
	size_t len;

	(void)state;
	assert_int_equal(tn_value_kind(in), TN_NULL);
	assert_int_equal(tn_value_kind(NULL), TN_NULL);
	assert_true(tn_value_bool(tn_value_new_bool(in, true)));
	assert_false(tn_value_bool(tn_value_new_bool(in, false)));
	assert_false(tn_value_bool(NULL));

	v = tn_value_new_int(in, INT64_MIN);
	assert_int_equal(tn_value_int(v, &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(tn_value_uint(v, &u), -ERANGE);
	assert_int_equal(tn_value_float(v, &d), 0);
	assert_true(d == -0x1p63);

	v = tn_value_new_uint(in, UINT64_MAX);
	assert_int_equal(tn_value_int(v, &i), -ERANGE);
	assert_int_equal(tn_value_uint(v, &u), 0);
	assert_true(u == UINT64_MAX);

	v = tn_value_new_float(in, 0.5);
	assert_int_equal(tn_value_float(v, &d), 0);
	assert_true(d == 0.5);
	assert_int_equal(tn_value_int(v, &i), -EINVAL);

	v = tn_value_new_text(in, LITERAL("a\0b"));
	text = tn_value_text(v, &len);
	assert_int_equal(len, 3);
	assert_memory_equal(text, "a\0b", 4);
	assert_null(tn_value_bytes(v, &len));
	assert_int_equal(len, 0);

	v = tn_value_new_bytes(in, "\xff", 1);
	assert_memory_equal(tn_value_bytes(v, NULL), "\xff", 1);
	assert_null(tn_value_text(v, NULL));

	v = tn_value_new_ext(in, -128, "xy", 2);
	assert_int_equal(tn_value_ext(v), -128);
	assert_memory_equal(tn_value_bytes(v, &len), "xy", 2);
	assert_int_equal(len, 2);

	v = tn_value_new_simple(in, 255);
	assert_int_equal(tn_value_simple(v), 255);
	assert_int_equal(tn_value_simple(in), -1);
	tn_value_free(in);
	tn_value_free(NULL);
}

static void bad_values_are_refused(void **state)
{
	static const uint8_t numbers[] = {20, 21, 22, 24, 31};
	struct tn_value *in = tn_value_new_null(NULL);
	struct tn_value *array = tn_value_new_array(in);

	(void)state;
	errno = 0;
	assert_null(tn_value_new_text(in, "\xed\xa0\x80", 3));
	assert_int_equal(errno, EILSEQ);
	for (size_t i = 0; i < sizeof numbers; i++) {
		errno = 0;
		assert_null(tn_value_new_simple(in, numbers[i]));
		assert_int_equal(errno, EINVAL);
	}
	assert_null(tn_value_new_tag(1, NULL));
	assert_int_equal(tn_value_append(array, in), 0);
	assert_null(tn_value_new_tag(1, in));
	tn_value_free(in);
}

static void placing_is_checked(void **state)
{
	struct tn_value *array = tn_value_new_array(NULL);
	struct tn_value *map = tn_value_new_map(array);
	struct tn_value *item = tn_value_new_int(array, 1);
	struct tn_value *stranger = tn_value_new_null(NULL);

	(void)state;
	assert_int_equal(tn_value_append(map, item), -EINVAL);
	assert_int_equal(tn_value_append(NULL, item), -EINVAL);
	assert_int_equal(tn_value_append(array, NULL), -EINVAL);
	assert_int_equal(tn_value_append(array, array), -EINVAL);
	assert_int_equal(tn_value_append(array, stranger), -EINVAL);
	assert_int_equal(tn_value_put(array, "k", item), -EINVAL);
	assert_int_equal(tn_value_put_pair(map, item, item), -EINVAL);
	assert_int_equal(tn_value_put(map, "\xff", item), -EILSEQ);
	assert_int_equal(tn_value_append(array, item), 0);
	assert_int_equal(tn_value_append(array, item), -EINVAL);
	assert_int_equal(tn_value_put(map, "k", item), -EINVAL);
	assert_int_equal(tn_value_count(array), 1);
	assert_int_equal(tn_value_count(map), 0);
	tn_value_free(stranger);
	tn_value_free(array);
}

static void maps_keep_order_and_take_any_key(void **state)
{
	struct tn_value *map = tn_value_new_map(NULL);
	struct tn_value *key = tn_value_new_array(map);
	struct tn_value *same = tn_value_new_array(NULL);
	const struct tn_value *item;

	(void)state;
	assert_null(tn_value_first(map));
	assert_int_equal(tn_value_put(map, "a", tn_value_new_int(map, 1)), 0);
	assert_int_equal(tn_value_put_pair(map, key, tn_value_new_int(map, 2)), 0);
	assert_int_equal(tn_value_put(map, "a", tn_value_new_int(map, 3)), 0);
	assert_int_equal(tn_value_append(key, tn_value_new_null(map)), 0);
	assert_int_equal(tn_value_append(same, tn_value_new_null(same)), 0);
	assert_int_equal(tn_value_count(map), 3);

	item = tn_value_first(map);
	assert_string_equal(tn_value_text(item, NULL), "a");
	item = tn_value_next(map, tn_value_next(map, item));
	assert_ptr_equal(item, key);
	item = tn_value_next(map, tn_value_next(map, item));
	assert_string_equal(tn_value_text(item, NULL), "a");
	assert_null(tn_value_next(map, tn_value_next(map, item)));

	/* of equal keys the last counts */
	assert_true(tn_value_equal(tn_value_get(map, "a"), tn_value_new_int(map, 3)));
	assert_true(tn_value_equal(tn_value_find(map, same), tn_value_new_int(map, 2)));
	assert_null(tn_value_get(map, "b"));
	assert_null(tn_value_get(key, "a"));
	assert_null(tn_value_get(NULL, "a"));
	tn_value_free(same);
	tn_value_free(map);
}

static void equality(void **state)
{
	struct tn_value *in = tn_value_new_null(NULL);
	struct tn_value *a = tn_value_new_tag(5, tn_value_new_int(in, 1));
	struct tn_value *b = tn_value_new_tag(5, tn_value_new_int(in, 1));
	struct tn_value *c = tn_value_new_tag(6, tn_value_new_int(in, 1));

	(void)state;
	assert_true(tn_value_equal(a, b));
	assert_false(tn_value_equal(a, c));
	assert_true(tn_value_equal(tn_value_new_float(in, NAN), tn_value_new_float(in, -NAN)));
	assert_false(tn_value_equal(tn_value_new_float(in, 0.0), tn_value_new_float(in, -0.0)));
	assert_false(tn_value_equal(tn_value_new_float(in, 1.0), tn_value_new_int(in, 1)));
	assert_false(tn_value_equal(tn_value_new_int(in, -1), tn_value_new_int(in, 0)));
	assert_false(tn_value_equal(tn_value_new_text(in, "a", 1), tn_value_new_bytes(in, "a", 1)));
	assert_false(tn_value_equal(tn_value_new_ext(in, 1, "a", 1), tn_value_new_ext(in, 2, "a", 1)));
	assert_true(tn_value_equal(NULL, NULL));
	assert_false(tn_value_equal(in, NULL));
	tn_value_free(in);
}

static void depth_is_counted_to_its_limit(void **state)
{
	struct tn_value *v = tn_value_new_null(NULL);

	(void)state;
	assert_int_equal(tn_value_depth(v), 0);
	assert_int_equal(tn_value_depth(tn_value_new_array(v)), 1);
	for (unsigned i = 1; i <= 100000; i++) {
		v = tn_value_new_tag(i, v);
		assert_non_null(v);
		if (i == 7 || i == TNI_DEPTH_MAX)
			assert_int_equal(tn_value_depth(v), i);
	}
	assert_int_equal(tn_value_depth(v), TNI_DEPTH_MAX + 1);
	assert_false(tn_value_equal(v, v));
	tn_value_free(v);
}

static void a_tree_grows_beyond_its_first_chunk(void **state)
{
	struct tn_value *array = tn_value_new_array(NULL);
	char *text = malloc(3000000);
	const struct tn_value *item;
	int64_t expected = 0;

	(void)state;
	memset(text, 'x', 3000000);
	for (int64_t i = 0; i < 50000; i++)
		assert_int_equal(tn_value_append(array, tn_value_new_int(array, i)), 0);
	assert_int_equal(tn_value_append(array, tn_value_new_text(array, text, 3000000)), 0);
	assert_int_equal(tn_value_count(array), 50001);
	item = tn_value_first(array);
	while (tn_value_kind(item) == TN_INT) {
		int64_t number;

		assert_int_equal(tn_value_int(item, &number), 0);
		assert_true(number == expected++);
		item = tn_value_next(array, item);
	}
	assert_memory_equal(tn_value_text(item, NULL), text, 3000000);
	assert_null(tn_value_next(array, item));
	free(text);
	/* any value stands for the tree */
	tn_value_free((struct tn_value *)(uintptr_t)item);
}

static void a_reset_tree_begins_at_the_same_place(void **state)
{
	struct tni_tree *tree = tni_tree_new();
	struct tn_value *first = tni_value_alloc(tree, TN_NULL, 0, 0);

	(void)state;
	for (int i = 0; i < 10000; i++)
		assert_non_null(tni_value_alloc(tree, TN_NULL, 0, 100));
	tni_tree_reset(tree);
	assert_ptr_equal(tni_value_alloc(tree, TN_NULL, 0, 0), first);
	tni_tree_free(tree);
}

static void equal_keys_are_found(void **state)
{
	(void)state;
	for (int count = 2; count < 200; count += 7) {
		struct tn_value *map = tn_value_new_map(NULL);
		const struct tn_value *repeated = NULL;
		char name[16];

		for (int i = 0; i < count; i++) {
			snprintf(name, sizeof name, "key %d", i);
			assert_int_equal(tn_value_put(map, name, tn_value_new_null(map)), 0);
			assert_int_equal(tn_value_put_pair(map, tn_value_new_int(map, i), tn_value_new_null(map)), 0);
		}
		assert_int_equal(tni_value_unique(map, &repeated), 1);
		snprintf(name, sizeof name, "key %d", count / 2);
		assert_int_equal(tn_value_put(map, name, tn_value_new_null(map)), 0);
		assert_int_equal(tni_value_unique(map, &repeated), 0);
		assert_string_equal(tn_value_text(repeated, NULL), name);
		tn_value_free(map);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(kinds_read_back),
		cmocka_unit_test(bad_values_are_refused),
		cmocka_unit_test(placing_is_checked),
		cmocka_unit_test(maps_keep_order_and_take_any_key),
		cmocka_unit_test(equality),
		cmocka_unit_test(depth_is_counted_to_its_limit),
		cmocka_unit_test(a_tree_grows_beyond_its_first_chunk),
		cmocka_unit_test(a_reset_tree_begins_at_the_same_place),
		cmocka_unit_test(equal_keys_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
