"""Pictures on a page: where tones are that no threshold does justice, and their dots of black and white."""

from __future__ import annotations

import math

import cv2
import numpy as np
from PIL import Image

from stages.analysis import Analysis, below, letter_like, level_at
from stages.maps import Grey, Mask, Surface, share, span
from stages.page_image import Box

PAPER = 255
SOLID_MM = 3.0  # wider than any pen stroke
DARK_PAGE_LEVEL = 96.0

# The tone test of IMAGING 2.13, step 1, made stricter: a stain or a shadow must not be taken for a picture.
PICTURE_TONES = (0.15, 0.85)
PICTURE_SMOOTH_SHARE = 0.12
PICTURE_TILE_MM = 4.0
PICTURE_TILE_SHARE = 0.12
PICTURE_JOIN_MM = 6.0
PICTURE_SMALLEST_MM = 15.0
PICTURE_FILLED_SHARE = 0.7
PICTURE_SPREAD_LEVELS = 14.0
PICTURE_DETAIL_MM = (2.0, 6.0)  # letters are closed over, then what is left is held against its surroundings
PICTURE_LETTERS_SHARE = 0.06  # letters in stains cover 0.09 of them and more, what looks like letters in pictures 0.04
# A drawn picture in flat tones has little detail; but its mean tone changes at its edges, all along, within a hair.
PICTURE_EDGE_REACH_MM = 4.0
PICTURE_EDGE_RISE_MM = 0.5
PICTURE_EDGE_LEVELS = 25.0
PICTURE_EDGES = 3
PICTURE_DETAIL_LEVELS = 5.0  # two photographs have 9 and 12, text in a deep gutter shadow 2

# A page that is a picture: hardly any letters, and a good part of it neither paper nor ink. Of the real scans with so
# few letters, written ones have at most 0.05 of their pixels between these shares of the brightest part, pictures 0.59.
# Stray edges in a picture count as letters too, so with more of them more of it must be toned: a Kodak grey scale has
# 96 and 0.87, photographs 35 and 0.57 and 37 and 0.91; handwriting on dark paper has 575 and 0.7, and must be cut.
PICTURE_TIERS = ((30, 0.25), (150, 0.5))  # up to so many letters, more than this share of middle tones
TONE_SHARES = (0.12, 0.85)
# Writing in stains has middle tones too, but its marks cover more of the page than those of most pictures, are most of
# what is dark, and have sharp edges: at least 0.069, 0.57 and 0.72 on 42 drawn old papers and as many pieces of them;
# of the photographs with as much cover one has 0.41 of its ink in such marks, the other a sharpness of 0.49.
WRITTEN_COVER = 0.06
WRITTEN_INK_SHARE = 0.5
WRITTEN_SHARPNESS = 0.65


def is_picture(analysis: Analysis) -> bool:
    """Whether the page is a photograph, a tone scale or a coloured sheet rather than writing."""
    like = letter_like(analysis.stats, shape=analysis.grey.shape, dpi=analysis.dpi)
    letters = int(np.count_nonzero(like))
    least_tone = next((share for most_letters, share in PICTURE_TIERS if letters <= most_letters), None)
    if least_tone is None:
        return False
    sample = analysis.grey[::2, ::2]
    brightest = level_at(sample, 95)
    if letters <= PICTURE_TIERS[0][0] and brightest < DARK_PAGE_LEVEL:
        return True  # not even the lightest part is paper
    dark, light = (share * brightest for share in TONE_SHARES)
    if share((sample > math.floor(dark)) & below(sample, light)) <= least_tone:
        return False
    return not _is_written(analysis, like)


def _is_written(analysis: Analysis, like: Mask) -> bool:
    """Whether the letter-like marks cover the page, are most of its ink, and have sharp edges."""
    places = analysis.inked
    places = places[like[analysis.labels.ravel()[places]]]
    marked, inked = places.size, int(np.count_nonzero(analysis.ink))
    if marked < WRITTEN_COVER * analysis.ink.size or marked < WRITTEN_INK_SHARE * inked:
        return False
    depth = np.maximum(cv2.subtract(analysis.paper, analysis.grey).ravel()[places], 1)
    return float(np.mean(span(analysis.grey).ravel()[places] / depth)) >= WRITTEN_SHARPNESS


def pictures_in(analysis: Analysis) -> list[Box]:
    """Where a picture is sure, in pixels of the analysis: smooth middle tones, many of them, with detail, in a box."""
    grey = analysis.grey
    paper = analysis.usual_paper
    spans = span(grey)
    no_paper = below(grey, PICTURE_TONES[1] * paper)
    tone = (grey > math.floor(PICTURE_TONES[0] * paper)) & no_paper & below(spans, PICTURE_SMOOTH_SHARE * paper)
    if np.count_nonzero(tone) < PICTURE_TILE_SHARE * analysis.px(PICTURE_SMALLEST_MM) ** 2:
        return []
    tile = max(1, round(analysis.px(PICTURE_TILE_MM)))
    toned = cv2.blur(tone.view(np.uint8) * np.uint8(255), (tile, tile)) > PICTURE_TILE_SHARE * 255
    side = max(1, round(analysis.px(PICTURE_JOIN_MM)))
    kernel = np.ones((side, side), np.uint8)
    side_solid = max(1, round(analysis.px(SOLID_MM)))
    solid = cv2.morphologyEx(no_paper.view(np.uint8), cv2.MORPH_OPEN, np.ones((side_solid, side_solid), np.uint8))
    joined = cv2.morphologyEx(cv2.bitwise_or(toned.view(np.uint8), solid), cv2.MORPH_CLOSE, kernel)
    regions = cv2.morphologyEx(joined, cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStatsWithAlgorithm(regions, 8, cv2.CV_32S, cv2.CCL_GRANA)
    detail: Surface | None = None
    lettered: Mask | None = None
    smallest = analysis.px(PICTURE_SMALLEST_MM)
    found = []
    for number in range(1, count):
        left, top, width, height, area = (int(v) for v in stats[number])
        if width < smallest or height < smallest or area < PICTURE_FILLED_SHARE * width * height:
            continue
        inside = np.s_[top : top + height, left : left + width]
        chosen = tone[inside] & (labels[inside] == number)
        if np.count_nonzero(chosen) < PICTURE_TILE_SHARE * area:
            continue
        if float(grey[inside][chosen].std()) < PICTURE_SPREAD_LEVELS:
            continue
        if lettered is None:
            lettered = letter_like(analysis.stats, shape=grey.shape, dpi=analysis.dpi)[analysis.labels]
        if share(lettered[inside]) > PICTURE_LETTERS_SHARE:
            continue
        detail = _detail(analysis) if detail is None else detail
        box = Box(left, top, left + width, top + height)
        if float(detail[inside][chosen].mean()) >= PICTURE_DETAIL_LEVELS or _is_cut_out(analysis, box):
            found.append(box)
    return found


def _is_cut_out(analysis: Analysis, box: Box) -> bool:
    """Whether the tones end at straight, sharp edges on three sides, as a print does and no stain or shadow."""
    reach = round(analysis.px(PICTURE_EDGE_REACH_MM))
    rise = max(1, round(analysis.px(PICTURE_EDGE_RISE_MM)))
    left, top, right, bottom = (round(side) for side in box)
    across, down = slice(left, right), slice(top, bottom)
    strips = [analysis.grey[max(0, at - reach) : at + reach, across] for at in (top, bottom)]
    strips += [analysis.grey[down, max(0, at - reach) : at + reach].T for at in (left, right)]
    profiles = [strip.mean(axis=1) for strip in strips]
    rises = [profile[rise:] - profile[:-rise] for profile in profiles if profile.size > rise]
    return sum(float(np.abs(each).max()) >= PICTURE_EDGE_LEVELS for each in rises) >= PICTURE_EDGES


def _detail(analysis: Analysis) -> Surface:
    """How far each place differs from its surroundings, writing aside: a shadow hardly does, a photograph much."""
    closing, blurring = (max(1, round(analysis.px(mm))) for mm in PICTURE_DETAIL_MM)
    bridged = cv2.morphologyEx(analysis.grey, cv2.MORPH_CLOSE, np.ones((closing, closing), np.uint8))
    return np.asarray(cv2.absdiff(bridged, cv2.blur(bridged, (blurring, blurring))), dtype=np.float32)


def dithered(grey: Grey, paper_level: float) -> Mask:
    """The piece in dots, paper free of them, by the error diffusion of Floyd and Steinberg 1976."""
    bright = np.asarray(cv2.convertScaleAbs(grey, alpha=PAPER / max(1.0, paper_level)), dtype=np.uint8)
    # compared, not read as bool: Pillow's own bool arrays hold bytes of 255, and `PageImage` counts on 0 and 1
    return np.asarray(Image.fromarray(bright).convert("1")).view(np.uint8) > 0
