// doctest with its long macro names, and the short ones that do not collide with engine/check.h's CHECK.
// In tests EXPECT is doctest's CHECK (goes on after a failure), REQUIRE stops the test case.
#pragma once

#define DOCTEST_CONFIG_NO_SHORT_MACRO_NAMES
#include <doctest/doctest.h>

#define TEST_CASE DOCTEST_TEST_CASE
#define SUBCASE DOCTEST_SUBCASE
#define EXPECT DOCTEST_CHECK
#define EXPECT_MESSAGE DOCTEST_CHECK_MESSAGE
#define REQUIRE DOCTEST_REQUIRE
#define REQUIRE_MESSAGE DOCTEST_REQUIRE_MESSAGE
#define CAPTURE DOCTEST_CAPTURE
#define INFO DOCTEST_INFO
