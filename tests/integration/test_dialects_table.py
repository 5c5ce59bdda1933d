"""Which test covers which line of the protocol's sections 2 to 5, so that none is left out and none is tested twice."""

import ast
from collections.abc import Mapping
from pathlib import Path

import pytest

_TESTS = Path(__file__).resolve().parent.parent

FRAMES: Mapping[str, tuple[str, ...]] = {
    "a second o aborts": (
        "test_rule_w_a_second_open_frame_aborts",
        "test_second_open_frame_abandons_the_session",
    ),
    "h is a heartbeat": ("test_section_2_h_is_a_heartbeat",),
    "elements that are not strings": ("test_octoprint_sends_objects",),
    "m is one message": ("test_octoprint_sends_objects", "test_section_2_m_is_one_json_message"),
    "c aborts, and is never polled again": (
        "test_rule_w_a_close_frame_aborts_and_the_session_is_never_polled_again",
    ),
    "white space, empty frames, a[], runs of h, a malformed a": ("test_leftovers_of_frames_do_no_harm",),
    "a last frame without its delimiter": (
        "test_leftovers_of_frames_do_no_harm",
        "test_section_2_the_last_frame_of_a_body_may_lack_its_delimiter",
    ),
    "c before o or before the prelude": (
        "test_aio_closes_before_the_open_frame_and_before_the_prelude",
        "test_close_frame_at_once_is_no_session",
    ),
    "a malformed c of tornado and Spring": ("test_spring_sends_an_unescaped_close_reason",),
    "any character escaped": ("test_rule_w_any_character_may_arrive_escaped",),
    "a lone surrogate": ("test_leftovers_of_frames_do_no_harm", "test_escapes_and_surrogates_both_ways"),
}
RECEIVING: Mapping[str, tuple[str, ...]] = {
    "websocket: fragments are joined": ("test_pings_are_answered_also_between_the_fragments_of_a_message",),
    "websocket: an empty text is ignored": ("test_section_2_empty_frames_and_empty_arrays_are_ignored",),
    "xhr-streaming: the prelude of Vert.x": ("test_vertx_sends_the_prelude_with_the_first_frame",),
    "eventsource": ("test_sockjs_node_encodes_percent_signs_of_eventsource",),
    "htmlfile": ("test_spring_writes_html_and_jsonp_as_javascript_strings",),
    "xhr-polling": ("test_rule_w_the_receiver_is_reopened_at_once_and_there_are_never_two",),
    "jsonp-polling: a form field": ("test_jsonp_is_sent_as_a_form_field",),
    "websocket-raw": ("test_raw_has_no_frames_of_sockjs", "test_go_has_no_raw_websocket_404"),
    "a clean end is normal, the next at once": (
        "test_rule_w_the_receiver_is_reopened_at_once_and_there_are_never_two",
        "test_a_server_of_http_1_0_has_no_chunks",
    ),
    "without a receiver a session is dropped after 5 s": (
        "test_a_response_is_read_to_its_end_and_the_next_one_waits",
        "test_while_a_program_does_not_read_the_next_poll_waits",
    ),
    "one receiver, 2010": (
        "test_a_second_receiver_is_answered_2010",
        "test_a_get_without_an_answer_is_never_repeated",
    ),
    "after an uncertain drop the session is abandoned": (
        "test_rule_w_after_an_unclean_break_the_session_is_abandoned",
    ),
    "headers of an idle poll": ("test_headers_of_an_idle_poll_come_with_its_first_byte",),
    "any status but 200": ("test_rule_w_any_status_but_200_aborts_where_we_receive",),
    "another transport in one session is 404": ("test_spring_refuses_another_transport_in_the_same_session",),
    "percent signs of eventsource": (
        "test_sockjs_node_encodes_percent_signs_of_eventsource",
        "test_tornado_does_not_encode_percent_signs_of_eventsource",
        "test_percent_decodes_what_sockjs_node_encodes",
        "test_none_decodes_nothing",
    ),
}
SENDING: Mapping[str, tuple[str, ...]] = {
    "only after o": ("test_rule_w_nothing_is_sent_before_the_open_frame",),
    "at most 512 KiB a body, 413 of aio": ("test_413_of_aio_at_1_mib",),
    "one at a time": ("test_rule_w_one_send_at_a_time_and_what_comes_meanwhile_goes_out_together",),
    "other statuses than 200 and 204": ("test_rule_w_any_status_but_200_and_204_aborts_where_we_send",),
    "401, 403, 404": ("test_what_was_refused_goes_out_in_the_next_session_in_order_and_once",),
    "400, 413": ("test_one_message_that_the_server_never_takes_is_set_aside",),
    "in doubt": ("test_what_was_not_answered_well_is_in_doubt_and_not_sent_again",),
    "content type": ("test_sends_are_plain_text_never_a_form",),
    "Accept-Encoding": (
        "test_rule_w_every_request_asks_for_no_compression",
        "test_a_proxy_compresses_although_it_was_asked_not_to",
    ),
    "actix takes exactly one message": (
        "test_actix_takes_exactly_one_message",
        "test_batch_bytes_0_puts_every_message_into_a_frame_of_its_own",
    ),
    "Spring on Tomcat: 8192 characters": (
        "test_spring_on_tomcat_closes_1009_over_8192",
        "test_waiting_messages_share_frames_up_to_batch_bytes",
    ),
    "escapes": (
        "test_rule_w_characters_of_the_client_list_leave_escaped",
        "test_rule_w_the_whole_list_is_that_of_sockjs_protocol",
    ),
}
LIFE: Mapping[str, tuple[str, ...]] = {
    "no h from tornado's streams: asked by /info": (
        "test_a_silent_server_that_never_sent_a_heartbeat_is_asked_and_lives_on",
        "test_a_silent_server_that_does_not_answer_the_question_is_dead",
        "test_any_answer_to_the_question_is_life",
    ),
    "silence counts where h was seen": (
        "test_where_heartbeats_had_come_silence_is_death",
        "test_silence_ends_a_session_that_had_shown_heartbeats",
    ),
    "PING of node and aio-libs, between fragments": (
        "test_pings_are_answered_also_between_the_fragments_of_a_message",
    ),
    "our own PING on both kinds": ("test_we_ping_on_both_kinds",),
    "a PONG overdue": ("test_pong_overdue_where_pongs_have_come",),
    "actix leaves the socket open": ("test_actix_leaves_the_socket_open_after_c",),
    "go and netty drop TCP; 1006": ("test_netty_drops_tcp_without_a_close_frame",),
    "1005": ("test_websocket_close_without_a_close_frame",),
    "cookies": (
        "test_rule_w_cookies_are_echoed_as_a_browser_would",
        "test_sticky_servers_set_their_cookie_with_101",
        "test_cookies_of_a_sticky_proxy_come_with_a_404",
        "test_the_value_of_a_cookie_comes_back_as_it_was",
        "test_vertx_echoes_the_whole_cookie_header",
    ),
    "origin": (
        "test_vertx_refuses_a_request_without_origin",
        "test_go_spring_and_octoprint_refuse_a_foreign_origin",
        "test_403_is_tried_once_more_with_the_same_origin",
    ),
    "fallback": (
        "test_transports_are_tried_in_order_each_with_a_session_id_of_its_own",
        "test_what_opened_last_is_tried_first_until_the_session_was_stable",
    ),
}
LINES = {**FRAMES, **RECEIVING, **SENDING, **LIFE}


@pytest.fixture(scope="module")
def all_tests() -> set[str]:
    """The names of all tests of the project."""
    return {
        node.name
        for file in _TESTS.rglob("test_*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@pytest.mark.parametrize("line", LINES)
def test_each_line_has_its_tests(line: str, all_tests: set[str]) -> None:
    assert set(LINES[line]) <= all_tests


def test_each_test_of_a_dialect_is_in_the_table() -> None:
    named = {name for names in LINES.values() for name in names}
    for file in Path(__file__).parent.glob("test_dialects*.py"):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.AsyncFunctionDef) and node.name.startswith("test_"):
                assert node.name in named
