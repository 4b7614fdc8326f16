# Draws the images of this suite.   usage: python make.py     in a virtual environment with pillow
import math
import random

from PIL import Image, ImageDraw, ImageFilter

rng = random.Random(20)
INK, RED, BLUE, GREEN, GREY = (20, 20, 30), (200, 40, 40), (40, 80, 190), (40, 140, 70), (150, 150, 150)


def sheet(width, height, colour=(255, 255, 255)):
    image = Image.new("RGB", (width, height), colour)
    return image, ImageDraw.Draw(image)


def save(image, name):
    if name.endswith(".png"):
        image.quantize(64).save(name, optimize=True)
    else:
        image.save(name, quality=80)


image, pen = sheet(240, 180)  # bars
for index, (name, value) in enumerate([("Mon", 30), ("Tue", 55), ("Wed", 90), ("Thu", 70), ("Fri", 120)]):
    pen.rectangle([20 + 42 * index, 150 - value, 50 + 42 * index, 150], fill=BLUE if index < 4 else RED)
    pen.text((22 + 42 * index, 155), name, fill=INK)
    pen.text((25 + 42 * index, 136 - value), str(value), fill=INK)
pen.line([10, 150, 235, 150], fill=INK, width=2)
pen.text((70, 4), "Parcels per day", fill=INK)
save(image, "bars.png")

image, pen = sheet(300, 170)  # two curves
for amplitude, phase, colour in ((50, 0, RED), (30, 1.2, GREEN)):
    pen.line([(20 + x, 85 - amplitude * math.sin(x / 40 + phase)) for x in range(0, 260, 3)], fill=colour, width=3)
pen.line([20, 10, 20, 160], fill=INK)
pen.line([20, 85, 290, 85], fill=INK)
pen.text((200, 12), "red: tide", fill=RED)
pen.text((200, 26), "green: wind", fill=GREEN)
save(image, "curves.png")

image, pen = sheet(210, 150)  # shapes
pen.ellipse([15, 20, 75, 80], fill=RED)
pen.rectangle([95, 25, 155, 85], fill=BLUE)
pen.polygon([(180, 85), (205, 25), (160, 25)], fill=GREEN)
pen.ellipse([40, 95, 80, 135], outline=INK, width=4)
pen.rectangle([110, 100, 190, 130], outline=RED, width=3)
save(image, "shapes.png")

image, pen = sheet(260, 140)  # a table
rows = [("item", "count", "price"), ("bolts", "40", "3.20"), ("nuts", "40", "1.60"), ("washers", "80", "0.80"), ("total", "160", "5.60")]
for r, row in enumerate(rows):
    for c, cell in enumerate(row):
        pen.text((14 + 85 * c, 12 + 24 * r), cell, fill=INK)
    pen.line([8, 30 + 24 * r, 252, 30 + 24 * r], fill=GREY)
save(image, "table.png")

image, pen = sheet(280, 120, (250, 246, 230))  # a note
for index, line in enumerate(["Dear neighbour,", "the lift is out of order until Thursday.", "Please take the stairs at door B.", "- the caretaker"]):
    pen.text((12, 10 + 24 * index), line, fill=INK)
save(image, "note.png")

image, pen = sheet(320, 220)  # a landscape, the stand-in of a photo
for y in range(220):
    t = y / 220
    pen.line([0, y, 320, y], fill=(int(120 + 90 * t), int(160 + 60 * t), int(230 - 40 * t)) if y < 130 else (60, int(150 - 50 * t), 60))
pen.ellipse([230, 20, 280, 70], fill=(255, 240, 150))
pen.polygon([(0, 140), (90, 50), (170, 140)], fill=(110, 110, 120))
pen.polygon([(110, 140), (210, 70), (320, 140)], fill=(130, 130, 140))
for _ in range(60):
    x, y = rng.randrange(320), rng.randrange(140, 215)
    pen.ellipse([x, y, x + 5, y + 8], fill=(30, rng.randrange(80, 140), 40))
save(image.filter(ImageFilter.GaussianBlur(1.2)), "landscape.jpg")

image, pen = sheet(180, 240, (90, 70, 60))  # a face of a clock, as photographed
pen.ellipse([20, 50, 160, 190], fill=(240, 235, 220), outline=INK, width=5)
for hour in range(12):
    a = hour * math.pi / 6
    pen.line([90 + 58 * math.sin(a), 120 - 58 * math.cos(a), 90 + 65 * math.sin(a), 120 - 65 * math.cos(a)], fill=INK, width=3)
pen.line([90, 120, 90 + 35 * math.sin(3.4 * math.pi / 6), 120 - 35 * math.cos(3.4 * math.pi / 6)], fill=INK, width=5)
pen.line([90, 120, 90 + 55 * math.sin(4 * math.pi / 3), 120 - 55 * math.cos(4 * math.pi / 3)], fill=INK, width=3)
save(image.filter(ImageFilter.GaussianBlur(0.8)), "clock.jpg")

for name, missing in (("rooms-before.png", None), ("rooms-after.png", 2)):  # two plans that differ in one wall
    image, pen = sheet(200, 200)
    for index, wall in enumerate([[20, 20, 180, 20], [180, 20, 180, 180], [100, 20, 100, 120], [20, 180, 180, 180], [20, 20, 20, 180], [20, 120, 60, 120]]):
        if index != missing:
            pen.line(wall, fill=INK, width=4)
    pen.text((40, 60), "kitchen", fill=INK)
    pen.text((120, 60), "bath", fill=INK)
    pen.text((80, 150), "hall", fill=INK)
    save(image, name)

image, pen = sheet(90, 300)  # a tall strip
for index in range(10):
    pen.rectangle([10, 8 + 29 * index, 80, 30 + 29 * index], fill=(20 * index, 120, 250 - 22 * index))
save(image, "strip.png")
